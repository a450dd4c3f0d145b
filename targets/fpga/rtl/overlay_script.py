"""A Vivado script that makes a PYNQ overlay of a design with its AXI4-Stream wrapper: bit and hwh under one
stem. The DMA has the place that hls4ml's overlays have, `hier_0/axi_dma_0`."""

from __future__ import annotations

from targets.fpga.parts import BOARDS
from targets.fpga.rtl.axi_stream import WORD, WRAPPER

SCRIPT, STEM, DMA = "overlay.tcl", "overlay", "hier_0/axi_dma_0"
#: MHz of the processing system's crystal, where no board files tell; UltraScale+ boards have Vivado's default
_CRYSTAL = {"pynq-z1": 50, "pynq-z2": 50}

_TEMPLATE = r"""# Makes @STEM@.bit and @STEM@.hwh in this folder:
#
#   vivado -mode batch -source @SCRIPT@
#
# NOT RUN by the project that wrote it, which has no Vivado: commands and options are those of the vendor's
# documentation and of scripts in use (Vivado 2020.2 and later). Needed: Vivado with @PART@'s device.
# The board files of @BOARD@ are used where they are installed.

set part @PART@
set board @BOARD@
set mhz @MHZ@
set crystal {@CRYSTAL@}
set here [file dirname [file normalize [info script]]]
set build [file join $here build]
cd $here

proc newest {ip} {
  set found [lsort -dictionary [get_ipdefs "xilinx.com:ip:$ip:*"]]
  if {![llength $found]} { error "this Vivado has no $ip" }
  return [lindex $found end]
}
proc cell {ip name} { return [create_bd_cell -type ip -vlnv [newest $ip] $name] }
proc join_axi {master slave given} {
  apply_bd_automation -rule xilinx.com:bd_rule:axi4 -config [list Clk_master Auto Clk_slave Auto \
    Clk_xbar Auto Master $master Slave $slave ddr_seg Auto intc_ip Auto master_apm 0] \
    [get_bd_intf_pins $given]
}

create_project -force @STEM@ $build -part $part
set known [lsort -dictionary [concat [get_board_parts -quiet "*:${board}:*"] \
  [get_board_parts -quiet "*:[string map {- {}} $board]:*"]]]
if {[llength $known]} { set_property board_part [lindex $known end] [current_project] }
set preset [expr {[llength $known] ? "1" : "0"}]

# -- sources: Verilog, and the weights that its memories start with
foreach file [glob [file join $here .. verilog *.v]] {
  if {[file tail $file] ne "test_bench.v"} { add_files -norecurse $file }
}
foreach file [glob -nocomplain [file join $here .. verilog *.hex]] {
  if {![string match stream_* [file tail $file]]} {
    add_files -norecurse $file
    set_property file_type {Memory Initialization Files} [get_files $file]
  }
}
update_compile_order -fileset sources_1

# -- block design: processing system, DMA, network
create_bd_design @STEM@
@PROCESSOR@
cell axi_dma axi_dma_0
set_property -dict [list CONFIG.c_include_sg 0 CONFIG.c_sg_include_stscntrl_strm 0 \
  CONFIG.c_sg_length_width 26 CONFIG.c_m_axi_mm2s_data_width @WORD@ CONFIG.c_m_axis_mm2s_tdata_width @WORD@ \
  CONFIG.c_mm2s_burst_size 256 CONFIG.c_s2mm_burst_size 256] [get_bd_cells axi_dma_0]
create_bd_cell -type module -reference @WRAPPER@ network_0
connect_bd_intf_net [get_bd_intf_pins axi_dma_0/M_AXIS_MM2S] [get_bd_intf_pins network_0/s_axis]
connect_bd_intf_net [get_bd_intf_pins network_0/m_axis] [get_bd_intf_pins axi_dma_0/S_AXIS_S2MM]

join_axi /$processor/$general /axi_dma_0/S_AXI_LITE axi_dma_0/S_AXI_LITE
join_axi /axi_dma_0/M_AXI_MM2S /$processor/$memory_port $processor/$memory_port
join_axi /axi_dma_0/M_AXI_S2MM /$processor/$memory_port axi_dma_0/M_AXI_S2MM
set reset [lindex [get_bd_cells -filter {VLNV =~ "*:proc_sys_reset:*"}] 0]
connect_bd_net [get_bd_pins $processor/$clock] [get_bd_pins network_0/aclk]
connect_bd_net [get_bd_pins $reset/peripheral_aresetn] [get_bd_pins network_0/aresetn]
group_bd_cells hier_0 [get_bd_cells axi_dma_0] [get_bd_cells network_0]
assign_bd_address
validate_bd_design
save_bd_design

set design [get_files @STEM@.bd]
add_files -norecurse [make_wrapper -files $design -top]
set_property top @STEM@_wrapper [current_fileset]
update_compile_order -fileset sources_1

# -- bitstream
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} { error "implementation failed: see $build" }
open_run impl_1
report_utilization -file [file join $here utilization.rpt]
report_timing_summary -file [file join $here timing_summary.rpt]
set slack [get_property STATS.WNS [get_runs impl_1]]
if {$slack ne "" && $slack < 0} {
  error "timing is not met at $mhz MHz (slack $slack ns): export again with a slower clock"
}

set handoff {}
foreach place {gen srcs} {
  lappend handoff {*}[glob -nocomplain \
    [file join $build @STEM@.$place sources_1 bd @STEM@ hw_handoff @STEM@.hwh]]
}
if {![llength $handoff]} { error "no @STEM@.hwh below $build" }
file copy -force [file join $build @STEM@.runs impl_1 @STEM@_wrapper.bit] [file join $here @STEM@.bit]
file copy -force [lindex $handoff 0] [file join $here @STEM@.hwh]
puts "made [file join $here @STEM@.bit] and .hwh"
"""

_ZYNQ = r"""set processor processing_system7_0
set general M_AXI_GP0
set memory_port S_AXI_HP0
set clock FCLK_CLK0
cell processing_system7 $processor
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config [list make_external "FIXED_IO, DDR" \
  apply_board_preset $preset Master Disable Slave Disable] [get_bd_cells $processor]
if {$preset eq "0" && $crystal ne ""} {
  set_property CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ $crystal [get_bd_cells $processor]
}
set_property -dict [list CONFIG.PCW_USE_M_AXI_GP0 1 CONFIG.PCW_USE_S_AXI_HP0 1 \
  CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $mhz] [get_bd_cells $processor]"""

_ULTRASCALE = r"""set processor zynq_ultra_ps_e_0
set general M_AXI_HPM0_FPD
set memory_port S_AXI_HP0_FPD
set clock pl_clk0
cell zynq_ultra_ps_e $processor
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config [list apply_board_preset $preset] \
  [get_bd_cells $processor]
set_property -dict [list CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 \
  CONFIG.PSU__USE__M_AXI_GP2 0 CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__FPGA_PL0_ENABLE 1 \
  CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $mhz] [get_bd_cells $processor]"""


def script(board: str, clock_mhz: float) -> str:
    """Tcl for `vivado -mode batch -source overlay.tcl`, in a folder beside `verilog/`.

    Args:
        board: of `targets.fpga.parts.BOARDS`.
    """
    part = BOARDS[board]
    given = {
        "PROCESSOR": _ZYNQ if part.startswith("xc7") else _ULTRASCALE,
        "PART": part,
        "BOARD": board,
        "MHZ": f"{clock_mhz:g}",
        "CRYSTAL": str(_CRYSTAL.get(board, "")),
        "STEM": STEM,
        "SCRIPT": SCRIPT,
        "WORD": str(WORD),
        "WRAPPER": WRAPPER,
    }
    text = _TEMPLATE
    for name, value in given.items():
        text = text.replace(f"@{name}@", value)
    return text
