#include "ops/softmax/labels.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "ops/strided.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// A thread reads this many labels at a time.
constexpr int64_t kChunk = 256;
static_assert(kSumRows % kChunk == 0);

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

// The target's elements are at most 2^62 rows long, so the blocks' results come in groups.
template <class T>
Labels::Tally Labels::Check(const ClassWeights<T>& weights) const {
  constexpr int64_t kGroup = 64;
  struct Block {
    int64_t first_bad, counted;
    double weight;
  };
  Tally tally;
  for (int64_t group = 0; group < rows_.count(); group += kGroup * kSumRows) {
    const int64_t rows = std::min(kGroup * kSumRows, rows_.count() - group);
    Block blocks[kGroup];
    // 1 ns per label, and 4 for a weight that may be anywhere.
    const double total_ns = double(rows) * (weights.given() ? 5 : 1);
    const size_t scratch = Scratch::Bytes<int64_t>(kChunk) + Scratch::Bytes<T>(kSumRows);
    ParallelFor(Work{CeilDiv(rows, kSumRows), total_ns, scratch}, [&](int64_t task, Scratch s) {
      int64_t* const labels = s.Take<int64_t>(kChunk);
      T* const met = s.Take<T>(kSumRows);
      Block block{-1, 0, 0};
      const int64_t begin = group + task * kSumRows, end = std::min(begin + kSumRows, group + rows);
      for (int64_t at = begin; at < end && block.first_bad < 0; at += kChunk) {
        const int64_t n = std::min(kChunk, end - at);
        ReadBits(at, at + n, labels);
        bool bad = false;
        int64_t ignored = 0;
        for (int64_t i = 0; i < n; ++i) {
          const bool skipped = Ignores(labels[i]);
          const bool outside = static_cast<uint64_t>(labels[i]) >= static_cast<uint64_t>(classes_);
          bad |= outside && !skipped;
          ignored += skipped;
        }
        block.counted += n - ignored;
        for (int64_t i = 0; bad && block.first_bad < 0; ++i) {
          const bool outside = static_cast<uint64_t>(labels[i]) >= static_cast<uint64_t>(classes_);
          if (outside && !Ignores(labels[i])) block.first_bad = at + i;
        }
        for (int64_t i = 0; weights.given() && !bad && i < n; ++i) {
          met[at - begin + i] = Ignores(labels[i]) ? T(0) : weights.At(labels[i]);
        }
      }
      if (weights.given() && block.first_bad < 0) block.weight = SumOfRows(met, end - begin);
      blocks[task] = block;
    });
    for (int64_t i = 0; i < CeilDiv(rows, kSumRows); ++i) {
      if (blocks[i].first_bad >= 0) FailAt(blocks[i].first_bad);
      tally.counted += blocks[i].counted;
      tally.weight += blocks[i].weight;
    }
  }
  if (!weights.given()) tally.weight = static_cast<double>(tally.counted);
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
