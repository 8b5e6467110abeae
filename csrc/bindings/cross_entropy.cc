#include "lanewise/cross_entropy.h"

#include <pybind11/stl.h>

#include <optional>

#include "bindings/array.h"
#include "bindings/options.h"

namespace lanewise::bindings {
namespace {

constexpr Caller kCaller{"cross_entropy"};
constexpr Choice<Reduction> kReductions[] = {
    {"mean", Reduction::kMean}, {"sum", Reduction::kSum}, {"none", Reduction::kNone}};

// Of class indices the loss has the logits' type, of probabilities the common one.
py::dtype LossType(const py::array& logits, const py::array& target) {
  const char kind = target.dtype().kind();
  if (kind == 'i' || kind == 'u') return FloatResultType(kCaller.op, {{"logits", logits}});
  return FloatResultType(kCaller.op, {{"logits", logits}, {"target", target}});
}

// The loss, or with `return_grad` that and the gradient.
py::object Call(py::handle logits_, const py::array& target, py::handle axis, py::handle weight_,
                std::optional<int64_t> ignore_index, double label_smoothing, py::handle reduction,
                py::handle from_probs, py::handle return_grad) {
  const py::array logits = AsArray(kCaller.op, "logits", logits_);
  CrossEntropyOptions options;
  options.axes = ParseAxes(kCaller, axis, static_cast<int>(logits.ndim()));
  options.ignore_index = ignore_index;
  options.label_smoothing = label_smoothing;
  options.reduction = ParseChoice(kCaller, "reduction", reduction, kReductions);
  options.from_probs = ParseFlag(from_probs);

  const py::dtype dtype = LossType(logits, target);
  const py::dtype computed = dtype.itemsize() < 4 ? py::dtype::of<float>() : dtype;
  const bool weighted = !weight_.is_none();
  const py::object weight =
      weighted ? py::object(AsArrayOf(kCaller.op, "weight", weight_, computed)) : py::none();
  const TensorView weight_view = weighted ? View(weight) : TensorView();
  if (weighted) options.weight = &weight_view;

  py::array loss = NewArray(kCaller.op, CrossEntropyShape(ShapeOf(logits), options), dtype);
  const TensorView x = View(logits), t = View(target), loss_view = OutputView(loss);
  if (!ParseFlag(return_grad)) {
    Released([&] { CrossEntropy(x, t, options, loss_view, nullptr); });
    return loss;
  }
  py::array gradient = NewArray(kCaller.op, ShapeOf(logits), dtype);
  const TensorView gradient_view = OutputView(gradient);
  Released([&] { CrossEntropy(x, t, options, loss_view, &gradient_view); });
  return py::make_tuple(loss, gradient);
}

}  // namespace

void BindCrossEntropy(py::module_& m) {
  m.def(kCaller.op, &Call, py::arg("logits"), py::arg("target").noconvert(), py::arg("axis"),
        py::arg("weight"), py::arg("ignore_index"), py::arg("label_smoothing"),
        py::arg("reduction"), py::arg("from_probs"), py::arg("return_grad"));
}

}  // namespace lanewise::bindings
