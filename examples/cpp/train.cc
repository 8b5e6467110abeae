// Two layers of convolution learn to find edges: gradient descent through Conv2dBackward. The exit
// code is 0 if the loss has fallen to a tenth.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "lanewise/lanewise.h"

namespace {

using lanewise::TensorView;
using Floats = std::vector<float>;

constexpr int64_t kImages = 8, kSide = 16, kChannels = 8;
constexpr int64_t kPixels = kImages * kSide * kSide;
constexpr int kSteps = 200, kReports = 5;
constexpr float kRate = 0.1f;

// Numbers in [-1, 1) that are the same everywhere.
float Uniform() {
  static uint32_t state = 1;
  state = state * 1664525 + 1013904223;  // Numerical Recipes' generator
  return static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
}

Floats Uniform(int64_t size, float scale) {
  Floats values(size);
  for (float& value : values) value = scale * Uniform();
  return values;
}

// Filters and bias of a layer, and the gradients by them.
struct Layer {
  Layer(int64_t in, int64_t out)
      : w_shape{3, 3, in, out},
        w(Uniform(9 * in * out, std::sqrt(6.0f / static_cast<float>(9 * in)))),
        bias(out),
        dw(w.size()),
        dbias(out) {}

  void Descend() {
    for (size_t i = 0; i < w.size(); ++i) w[i] -= kRate * dw[i];
    for (size_t i = 0; i < bias.size(); ++i) bias[i] -= kRate * dbias[i];
  }

  int64_t w_shape[4];
  Floats w, bias, dw, dbias;
};

TensorView View(const Floats& images, int64_t channels) {
  return {images.data(), {kImages, kSide, kSide, channels}};
}

TensorView View(const Floats& filters, const Layer& layer) {
  const int64_t* shape = layer.w_shape;
  return {filters.data(), {shape[0], shape[1], shape[2], shape[3]}};
}

TensorView View(const Floats& bias) { return {bias.data(), {static_cast<int64_t>(bias.size())}}; }

void Forward(const Layer& layer, const TensorView& x, const lanewise::Conv2dOptions& options,
             const TensorView& y) {
  const TensorView bias = View(layer.bias);
  lanewise::Conv2d(x, View(layer.w, layer), &bias, options, y);
}

// The gradients by the layer's filters and bias, and by x where dx is not null.
void Backward(Layer& layer, const TensorView& dy, const TensorView& x,
              const lanewise::Conv2dOptions& options, const TensorView* dx) {
  const TensorView dw = View(layer.dw, layer), dbias = View(layer.dbias);
  lanewise::ConvGradients gradients;
  gradients.x = dx;
  gradients.w = &dw;
  gradients.bias = &dbias;
  lanewise::Conv2dBackward(dy, x, View(layer.w, layer), options, gradients);
}

// How steep the image is at each pixel, by Sobel's two filters: what is to be learnt.
Floats Steepness(const TensorView& images, const lanewise::Conv2dOptions& options) {
  const Floats sobel = {-1, -1, 0, -2, 1, -1, -2, 0, 0,
                        0,  2,  0, -1, 1, 0,  2,  1, 1};  // (3, 3, 1, 2)
  Floats slopes(2 * kPixels), steepness(kPixels);
  lanewise::Conv2d(images, {sobel.data(), {3, 3, 1, 2}}, nullptr, options, View(slopes, 2));
  for (int64_t i = 0; i < kPixels; ++i)
    steepness[i] = std::hypot(slopes[2 * i], slopes[2 * i + 1]) / 8;
  return steepness;
}

}  // namespace

int main() {
  lanewise::Conv2dOptions plain, relu;
  plain.padding.rule = relu.padding.rule = lanewise::PaddingRule::kSame;
  relu.activation = lanewise::Activation::kRelu;

  const Floats images = Uniform(kPixels, 1);
  const TensorView x = View(images, 1);
  const Floats target = Steepness(x, plain);

  Layer first(1, kChannels), second(kChannels, 1);
  Floats maps(kPixels * kChannels), d_maps(maps.size()), guess(kPixels), d_guess(kPixels);
  const TensorView maps_view = View(maps, kChannels), d_maps_view = View(d_maps, kChannels);
  const TensorView guess_view = View(guess, 1), d_guess_view = View(d_guess, 1);

  float first_loss = 0, loss = 0;
  for (int step = 0; step <= kSteps; ++step) {
    Forward(first, x, relu, maps_view);
    Forward(second, maps_view, plain, guess_view);

    // loss = Σ (guess - target)² / pixels
    loss = 0;
    for (int64_t i = 0; i < kPixels; ++i) {
      const float error = guess[i] - target[i];
      loss += error * error / kPixels;
      d_guess[i] = 2 * error / kPixels;
    }
    if (step == 0) first_loss = loss;
    if (step % (kSteps / kReports) == 0) std::printf("step %3d  loss %.5f\n", step, loss);

    Backward(second, d_guess_view, maps_view, plain, &d_maps_view);
    for (size_t i = 0; i < maps.size(); ++i)  // relu's derivative
      if (maps[i] == 0) d_maps[i] = 0;
    Backward(first, d_maps_view, x, plain, nullptr);
    first.Descend();
    second.Descend();
  }
  return loss < 0.1f * first_loss ? 0 : 1;
}
