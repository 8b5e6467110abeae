#include "ops/softmax/labels.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "ops/strided.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

template <class T>
double SumOfBlock(const T* values, int64_t rows) {
  constexpr int64_t kPartials = 16;
  double sums[kPartials] = {};
  int64_t i = 0;
  for (; i + kPartials <= rows; i += kPartials) {
    for (int64_t k = 0; k < kPartials; ++k) sums[k] += static_cast<double>(values[i + k]);
  }
  for (; i < rows; ++i) sums[i % kPartials] += static_cast<double>(values[i]);
  for (int64_t half = kPartials / 2; half >= 1; half /= 2) {
    for (int64_t k = 0; k < half; ++k) sums[k] += sums[k + half];
  }
  return sums[0];
}

}  // namespace

template <class T>
double SumOfRows(const T* values, int64_t rows) {
  double sum = 0;
  for (int64_t i = 0; i < rows; i += kSumRows) {
    sum += SumOfBlock(values + i, std::min(kSumRows, rows - i));
  }
  return sum;
}
template double SumOfRows(const float*, int64_t);
template double SumOfRows(const double*, int64_t);

Labels::Labels(const TensorView& target, int64_t classes, std::optional<int64_t> ignore_index)
    : target_(target),
      classes_(classes),
      ignores_(ignore_index.has_value()),
      ignore_index_(ignore_index.value_or(0)),
      source_(target) {
  for (int a = 0; a < target.rank; ++a) rows_.Append(target.shape[a], {target.strides[a]});
}

void Labels::ReadBits(int64_t begin, int64_t end, int64_t* to) const {
  rows_.ForEachRun(begin, end, [&](int64_t length, const MergedAxes<1>::Offsets& at) {
    (source_ + at[0]).Read(rows_.inner_stride(0), length, to);
    to += length;
  });
}

void Labels::Read(int64_t begin, int64_t end, int64_t* to) const {
  ReadBits(begin, end, to);
  if (!ignores_) return;
  for (int64_t i = 0; i < end - begin; ++i) to[i] = Ignores(to[i]) ? kIgnored : to[i];
}

template <class T>
Labels::BlockTally Labels::CheckBlock(int64_t begin, int64_t end, const ClassWeights<T>& weights,
                                      Scratch scratch) const {
  int64_t* const labels = scratch.Take<int64_t>(kSumRows);
  const int64_t n = end - begin;
  ReadBits(begin, end, labels);
  const auto outside = [&](int64_t label) {
    return static_cast<uint64_t>(label) >= static_cast<uint64_t>(classes_) && !Ignores(label);
  };
  bool bad = false;
  int64_t ignored = 0;
  for (int64_t i = 0; i < n; ++i) {
    bad |= outside(labels[i]);
    ignored += Ignores(labels[i]);
  }
  if (bad) return {begin + (std::find_if(labels, labels + n, outside) - labels), {}};
  if (!weights.given()) return {-1, {n - ignored, double(n - ignored)}};
  T* const met = scratch.Take<T>(kSumRows);
  for (int64_t i = 0; i < n; ++i) met[i] = Ignores(labels[i]) ? T(0) : weights.At(labels[i]);
  return {-1, {n - ignored, SumOfRows(met, n)}};
}

// Blocks go in groups, whose results fit on the stack.
template <class T>
Labels::Tally Labels::Check(const ClassWeights<T>& weights) const {
  constexpr int64_t kGroup = 64;
  const size_t scratch = Scratch::Bytes<int64_t>(kSumRows) + Scratch::Bytes<T>(kSumRows);
  Tally tally;
  for (int64_t first = 0; first < rows_.count(); first += kGroup * kSumRows) {
    const int64_t end = std::min(rows_.count(), first + kGroup * kSumRows);
    const int64_t count = CeilDiv(end - first, kSumRows);
    BlockTally blocks[kGroup];
    // 0.5 ns per label, and 2 for a weight that may be anywhere.
    const double total_ns = double(end - first) * (weights.given() ? 2.5 : 0.5);
    ParallelFor(Work{count, total_ns, scratch}, [&](int64_t task, Scratch memory) {
      const int64_t begin = first + task * kSumRows;
      blocks[task] = CheckBlock(begin, std::min(end, begin + kSumRows), weights, memory);
    });
    for (int64_t i = 0; i < count; ++i) {
      if (blocks[i].first_bad >= 0) FailAt(blocks[i].first_bad);
      tally.counted += blocks[i].tally.counted;
      tally.weight += blocks[i].tally.weight;
    }
  }
  return tally;
}
template Labels::Tally Labels::Check(const ClassWeights<float>&) const;
template Labels::Tally Labels::Check(const ClassWeights<double>&) const;

void Labels::FailAt(int64_t row) const {
  int64_t bits = 0;
  ReadBits(row, row + 1, &bits);
  const std::string label = target_.dtype == DType::kUInt64
                                ? std::to_string(static_cast<uint64_t>(bits))
                                : std::to_string(bits);
  Shape at(target_.rank);
  for (int a = target_.rank; a-- > 0; row /= target_.shape[a]) at[a] = row % target_.shape[a];
  std::string position;
  for (const int64_t index : at) {
    position += (position.empty() ? "[" : ", ") + std::to_string(index);
  }
  if (!position.empty()) position += "]";
  throw std::out_of_range(Concat("cross_entropy: target", position, " is ", label,
                                 ", which is out of bounds for ", classes_,
                                 classes_ == 1 ? " class" : " classes"));
}

}  // namespace lanewise
