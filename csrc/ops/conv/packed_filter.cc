#include "ops/conv/packed_filter.h"

#include <pthread.h>

#include <new>

#include "ops/elements.h"
#include "ops/merged_axes.h"
#include "runtime/dtype.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

// One for all filters: packing is rare, and takes all threads.
std::mutex packing_lock;

// Whoever held the lock does not exist in a forked child, which therefore gets a new one. What the
// lock protects is whole at any time: a form joins the list by a single store.
[[maybe_unused]] const int fork_handler =
    pthread_atfork(nullptr, nullptr, [] { new (&packing_lock) std::mutex; });

int64_t BytesOf(const TensorView& w) {
  int64_t bytes = ItemSize(w.dtype);
  for (const int64_t size : w.sizes()) bytes = CheckedProduct("pack_filter", bytes, size);
  return bytes;
}

}  // namespace

FilterForms::FilterForms(const TensorView& w, int64_t groups_, Layout layout_, bool flip_)
    : groups(groups_),
      layout(layout_),
      flip(flip_),
      memory_(BytesOf(w)),
      copy_(ContiguousView(memory_.get(), w.dtype, w.sizes())) {
  if (memory_.bytes() == 0) return;
  MergedAxes<1> axes;
  for (int axis = 0; axis < w.rank; ++axis) axes.Append(w.shape[axis], {w.strides[axis]});
  const std::byte* const from = Data<std::byte>(w);
  const int64_t size = ItemSize(w.dtype);
  std::byte* to = memory_.get();
  axes.ForEachRun(0, axes.count(), [&](int64_t n, const MergedAxes<1>::Offsets& offsets) {
    detail::GatherBytes(from + offsets[0] * size, axes.inner_stride(0), n, size, to);
    to += n * size;
  });
}

FilterForms::~FilterForms() {
  for (const Form* form = newest_.load(); form != nullptr;) delete std::exchange(form, form->next);
}

size_t FilterForms::bytes() const {
  size_t sum = memory_.bytes();
  for (const Form* form = newest_.load(std::memory_order_acquire); form; form = form->next) {
    sum += form->bytes;
  }
  return sum;
}

std::mutex& FilterForms::PackingLock() { return packing_lock; }

const FilterForms::Form* FilterForms::Find(const Key& key) const {
  const Form* form = newest_.load(std::memory_order_acquire);
  while (form != nullptr && form->key != key) form = form->next;
  return form;
}

const FilterForms::Form* FilterForms::Add(Form form) {
  form.next = newest_.load(std::memory_order_relaxed);
  const Form* const added = new Form(std::move(form));
  newest_.store(added, std::memory_order_release);
  return added;
}

PackedFilter::PackedFilter(const TensorView& w, int64_t groups, Layout layout, bool flip) {
  if (w.rank < 3 || w.rank > 5) {
    Fail("pack_filter: w has shape ", ToString(w.sizes()),
         ", expected 3 axes for conv1d or 4 for conv2d, or one more for a bank of filters per "
         "image");
  }
  if (groups < 1) Fail("pack_filter: groups is ", groups, ", expected at least 1");
  forms_ = std::make_unique<FilterForms>(w, groups, layout, flip);
}
PackedFilter::~PackedFilter() = default;
PackedFilter::PackedFilter(PackedFilter&&) noexcept = default;
PackedFilter& PackedFilter::operator=(PackedFilter&&) noexcept = default;

const TensorView& PackedFilter::filters() const { return forms_->copy(); }
int64_t PackedFilter::groups() const { return forms_->groups; }
Layout PackedFilter::layout() const { return forms_->layout; }
bool PackedFilter::flip() const { return forms_->flip; }
size_t PackedFilter::bytes() const { return forms_->bytes(); }

const TensorView& FiltersFor(const ConvForm& form, const PackedFilter& w, int64_t groups,
                             Layout layout, bool flip) {
  const auto fail = [&](const char* name, const auto& asked, const auto& packed) {
    Fail(form.op, ": ", name, " is ", asked, ", but w was packed with ", name, "=", packed);
  };
  const auto quoted = [&](Layout l) { return Concat("'", LayoutName(form, l), "'"); };
  const auto truth = [](bool b) { return b ? "True" : "False"; };
  if (groups != w.groups()) fail("groups", groups, w.groups());
  if (layout != w.layout()) fail("layout", quoted(layout), quoted(w.layout()));
  if (flip != w.flip()) fail("flip", truth(flip), truth(w.flip()));
  return w.filters();
}

}  // namespace lanewise
