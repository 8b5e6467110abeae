#include "lanewise/cross_entropy.h"

#include <pybind11/stl.h>

#include <optional>

#include "bindings/array.h"

namespace lanewise::bindings {

void BindCrossEntropy(py::module_& m) {
  py::enum_<Reduction>(m, "Reduction")
      .value("NONE", Reduction::kNone)
      .value("SUM", Reduction::kSum)
      .value("MEAN", Reduction::kMean);
  m.def(
      "cross_entropy",
      [](const py::array& logits, const py::array& target, const Axes& axes,
         const std::optional<py::array>& weight, std::optional<int64_t> ignore_index,
         double label_smoothing, Reduction reduction, bool from_probs, py::array& loss,
         std::optional<py::array> gradient) {
        const TensorView x = View(logits), t = View(target), loss_view = OutputView(loss);
        const TensorView w = weight ? View(*weight) : TensorView();
        const TensorView gradient_view = gradient ? OutputView(*gradient) : TensorView();
        const CrossEntropyOptions options{
            axes, weight ? &w : nullptr, ignore_index, label_smoothing, reduction, from_probs};
        py::gil_scoped_release release;
        CrossEntropy(x, t, options, loss_view, gradient ? &gradient_view : nullptr);
      },
      py::arg("logits").noconvert(), py::arg("target").noconvert(), py::arg("axes"),
      py::arg("weight").noconvert(), py::arg("ignore_index"), py::arg("label_smoothing"),
      py::arg("reduction"), py::arg("from_probs"), py::arg("loss").noconvert(),
      py::arg("gradient").noconvert());
}

}  // namespace lanewise::bindings
