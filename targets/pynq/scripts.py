"""What runs on a board: constant bash scripts. Arguments are $1, $2, …; nothing is ever put into the text.

A job has a folder `<folder>/jobs/<id>` there: `agent.pyz`, `job.tar.gz`, `work/` (the agent's), `agent.log`,
and, when the agent has ended, `code`. `run.lock` is held (flock) as long as the agent's parent lives, so that
whoever comes back after a lost connection can tell "still running" from "ended" and "rebooted", and can wait
without asking again and again (which would disturb the measurement).

Exit codes of ours: 90 no such folder, 91 sudo asks for a password, 92 no space, 93 it is running already,
94 what came is not what was sent, 95 a tool is missing, 96 there is no such Python, 97 still running, 98 its
Python is too old, 99 it has no numpy. None is ssh's (255) or the agent's.
"""

from __future__ import annotations

NO_FOLDER, NO_SUDO, NO_SPACE, RUNNING, OTHER, NO_TOOL, WAITING = 90, 91, 92, 93, 94, 95, 97
NO_PYTHON, OLD_PYTHON, NO_NUMPY = 96, 98, 99

#: The environment of a PYNQ image, then the program. Functions that other scripts begin with.
_COMMON = r"""
set -u
umask 022
environment='for name in pynq_venv xrt_setup; do
  if [ -r "/etc/profile.d/$name.sh" ]; then . "/etc/profile.d/$name.sh"; fi
done
exec "$@"'
as_needed() { # sudo|no program arguments…: as root where that is needed, in the image's environment
  local how=$1; shift
  if [ "$how" = local ]; then exec "$@"; fi
  if [ "$how" = no ] || [ "$(id -u)" = 0 ]; then exec bash -lc "$environment" edge-bench "$@"; fi
  sudo -n true 2>/dev/null || { echo "sudo asks for a password" >&2; exit 91; }
  exec sudo -n bash -lc "$environment" edge-bench "$@"
}
"""

#: Whether the agent can start at all. For any Python, down to 2: an older one would not even read its text.
_PROBE = r"""
probe='import sys
if sys.version_info < (3, 8):
    sys.stderr.write("%d.%d.%d\n" % sys.version_info[:3])
    sys.exit(98)
try:
    import numpy
except ImportError:
    sys.stderr.write("%s\n" % sys.exc_info()[1])
    sys.exit(99)'
probed() { # sudo|no python
  local code=0
  ( as_needed "$1" "$2" -c "$probe" ) || code=$?
  case $code in
    0) ;;
    126|127) exit 96 ;;
    *) exit "$code" ;;
  esac
}
"""

#: folder sudo python agent-options…: `agent.pyz --check`
CHECK = (
    _COMMON
    + _PROBE
    + r"""
cd -- "$1" || exit 90
how=$2 python=$3; shift 3
probed "$how" "$python"
as_needed "$how" "$python" agent.pyz --check "$@"
"""
)

#: folder bytes: makes it, takes a tar from stdin, after a look at the free space
PUT = (
    _COMMON
    + r"""
for tool in tar flock setsid sha256sum df; do
  command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 95; }
done
mkdir -p -- "$1" && cd -- "$1" || exit 90
free=$(df -Pk . | awk 'NR == 2 { print $4 }')
if [ -n "$free" ] && [ "$free" -lt "$(( $2 / 1024 + 1 ))" ]; then
  echo "$(( free / 1024 )) MB are free, $(( $2 / 1048576 + 1 )) MB are needed" >&2; exit 92
fi
rm -rf upload && mkdir upload || exit 92
tar -xf - -C upload || exit 92
for name in upload/*; do
  target=$(basename -- "$name")
  rm -rf -- "$target" && mv -- "$name" "$target" || exit 92
done
rmdir upload
"""
)

#: folder sha256: none (the job is not there as a whole), there (not running, never ended), running,
#: ended CODE (with a result), failed CODE (without one)
STATE = (
    _COMMON
    + r"""
cd -- "$1" 2>/dev/null || { echo none; exit 0; }
flock -n run.lock true 2>/dev/null || { [ -e run.lock ] && { echo running; exit 0; }; }
if [ -r job.tar.gz ] && echo "$2  job.tar.gz" | sha256sum -c --status 2>/dev/null; then
  if [ ! -s code ]; then echo there
  elif [ -s result.tar.gz ]; then echo "ended $(cat code)"
  else echo "failed $(cat code)"; fi
else echo none; fi
"""
)

#: folder sha256 sudo python agent-options…: starts the agent so that it outlives this connection
START = (
    _COMMON
    + _PROBE
    + r"""
cd -- "$1" || exit 90
echo "$2  job.tar.gz" | sha256sum -c --status || exit 94
how=$3 python=$4; shift 4
probed "$how" "$python"
exec 9>run.lock
flock -n 9 || exit 93
rm -f code result.tar.gz
export environment; export -f as_needed
(
  trap '' HUP
  setsid bash -c 'echo $$ >pid; (as_needed "$@"); code=$?; echo $code >code.new && mv code.new code' \
    edge-bench "$how" "$python" agent.pyz job.tar.gz --out result.tar.gz --work work "$@" \
    </dev/null >agent.log 2>&1 &
)
"""
)

#: folder seconds: waits until the agent has ended; 97 and the last line of its log if it has not
WAIT = (
    _COMMON
    + r"""
cd -- "$1" || exit 90
flock -w "$2" run.lock true && exit 0
tail -n 1 agent.log 2>/dev/null
exit 97
"""
)

#: folder: the log's end
LOG = (
    _COMMON
    + r"""
cd -- "$1" || exit 90
tail -c 4000 agent.log 2>/dev/null
"""
)

#: folder sudo: ends the agent
STOP = (
    _COMMON
    + r"""
cd -- "$1" || exit 90
flock -n run.lock true && exit 0
pid=$(cat pid) && [ -n "$pid" ] || exit 0
run=""; if [ "$2" = sudo ] && [ "$(id -u)" != 0 ]; then run="sudo -n"; fi
$run kill -TERM -- "-$pid" 2>/dev/null
flock -w 10 run.lock true && exit 0
$run kill -KILL -- "-$pid" 2>/dev/null
flock -w 5 run.lock true
"""
)

#: folder: the result as .tar.gz on stdout: the whole one, or what has been finished
FETCH = (
    _COMMON
    + r"""
cd -- "$1" || exit 90
if [ -s result.tar.gz ]; then exec cat result.tar.gz; fi
[ -s work/result/result.json ] || exit 94
exec tar -cz --exclude='*.new' -C work -f - result
"""
)

#: folder sudo: removes it
REMOVE = (
    _COMMON
    + r"""
[ -d "$1" ] || exit 0
rm -rf -- "$1" 2>/dev/null || { [ "$2" = sudo ] && sudo -n rm -rf -- "$1"; }
"""
)
