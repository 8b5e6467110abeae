// Filters in the forms that kernels read: made for one call, or kept with a PackedFilter.
#ifndef LANEWISE_OPS_CONV_PACKED_FILTER_H_
#define LANEWISE_OPS_CONV_PACKED_FILTER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "ops/conv/form.h"
#include "ops/conv/problem.h"
#include "runtime/buffer.h"

namespace lanewise {

enum class FilterForm : uint8_t {
  kBlocks,    // PackFilters
  kVectors,   // of channels, also across groups
  kWinograd,  // transformed
};

// A PackedFilter's copy of w, and the forms of it that calls have asked for. A form is kept as long
// as the copy. All functions may be called by several threads at once.
class FilterForms {
 public:
  FilterForms(const TensorView& w, int64_t groups, Layout layout, bool flip);
  ~FilterForms();
  FilterForms(const FilterForms&) = delete;
  FilterForms& operator=(const FilterForms&) = delete;

  const int64_t groups;
  const Layout layout;
  const bool flip;

  // Contiguous.
  const TensorView& copy() const { return copy_; }
  // Of the copy and of all forms.
  size_t bytes() const;

  // All that the bytes of a form depend on.
  using Key = std::array<int64_t, 16>;

  // The form under this key; by `pack()`, a Buffer<T>, if nobody has asked for it before.
  template <class T, class Pack>
  const T* Get(const Key& key, const Pack& pack) {
    const Form* form = Find(key);
    if (form == nullptr) {
      const std::lock_guard<std::mutex> hold(PackingLock());
      form = Find(key);  // another thread may have been faster
      if (form == nullptr) {
        const auto buffer = std::make_shared<const Buffer<T>>(pack());
        form = Add({key, buffer, buffer->get(), buffer->bytes(), nullptr});
      }
    }
    return static_cast<const T*>(form->data);
  }

 private:
  struct Form {
    Key key;
    std::shared_ptr<const void> owner;
    const void* data;
    size_t bytes;
    const Form* next;
  };

  static std::mutex& PackingLock();
  // Without a lock: forms are only ever added, and a form is complete when the list begins with it.
  const Form* Find(const Key& key) const;
  const Form* Add(Form form);

  const Buffer<std::byte> memory_;
  TensorView copy_;
  std::atomic<const Form*> newest_{nullptr};
};

// A form of filters, whoever owns it.
template <class T>
class PackedFilters {
 public:
  PackedFilters() = default;
  explicit PackedFilters(const T* kept) : data_(kept) {}
  explicit PackedFilters(Buffer<T> own) : own_(std::move(own)), data_(own_.get()) {}

  const T* get() const { return data_; }

 private:
  Buffer<T> own_;
  const T* data_ = nullptr;
};

// The problem's filters as `pack()`, a Buffer<T>, makes them: now, or before for a PackedFilter.
// `kernels` is the table of one element type and SIMD target that reads them, in panels of `nr` if
// the form has any; beyond these, the form may depend on the filters' own sizes only.
template <class T, class Kernels, class Pack>
PackedFilters<T> GetFilters(const ConvProblem<T>& problem, FilterForm form, const Kernels& kernels,
                            int64_t nr, const Pack& pack) {
  if (problem.forms == nullptr) return PackedFilters<T>(pack());
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  const FilterForms::Key key{static_cast<int64_t>(form),
                             reinterpret_cast<intptr_t>(&kernels),
                             nr,
                             reinterpret_cast<intptr_t>(problem.filter.InPlace()),
                             strides.n,
                             strides.g,
                             strides.r,
                             strides.s,
                             strides.c,
                             strides.k,
                             problem.banks,
                             shape.groups,
                             shape.group_c,
                             shape.group_k,
                             shape.h.window,
                             shape.w.window};
  return PackedFilters<T>(problem.forms->template Get<T>(key, pack));
}

// w's filters, for a call whose options must agree with those that it was packed with.
const TensorView& FiltersFor(const ConvForm& form, const PackedFilter& w, int64_t groups,
                             Layout layout, bool flip);
inline const TensorView& FiltersFor(const ConvForm& form, const PackedFilter& w,
                                    const Conv2dOptions& options) {
  return FiltersFor(form, w, options.groups, options.layout, options.flip);
}

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_PACKED_FILTER_H_
