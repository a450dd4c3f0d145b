// Runs the C simulation of an hls4ml project: float32 inputs from standard input, float64 outputs to
// standard output, frame by frame. With the argument "trace" each frame's output is followed by the
// outputs of all layers (float64), in the order of their names.
#include "firmware/network.cpp"
#include "network_bridge.cpp"

#include <cstdio>
#include <cstring>
#include <vector>

static bool fill(std::vector<float> &frame, bool &partial) {
    size_t got = fread(frame.data(), sizeof(float), frame.size(), stdin);
    partial = got != 0 && got != frame.size();
    return got == frame.size();
}

int main(int argc, char **argv) {
    const bool trace = argc > 1 && !strcmp(argv[1], "trace");
    const size_t layer_sizes[] = {BENCH_LAYER_SIZES};  // in the order of the layers' names
    std::vector<float> input(BENCH_INPUTS);
    std::vector<double> given(BENCH_INPUTS), output(BENCH_OUTPUTS);
    bool partial = false;
    if (trace)
        allocate_trace_storage(sizeof(double));
    while (fill(input, partial)) {
        for (size_t i = 0; i < input.size(); i++)
            given[i] = input[i];
        network_double(given.data(), output.data());
        if (fwrite(output.data(), sizeof(double), output.size(), stdout) != output.size())
            return 3;
        if (!trace)
            continue;
        size_t index = 0;
        for (auto &layer : *nnet::trace_outputs) {
            size_t size = layer_sizes[index++];
            if (fwrite(layer.second, sizeof(double), size, stdout) != size)
                return 3;
        }
    }
    return partial ? 2 : fflush(stdout) ? 3 : 0;
}
