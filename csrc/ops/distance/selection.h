// The k nearest of what is offered to each of some rows.
#ifndef LANEWISE_OPS_DISTANCE_SELECTION_H_
#define LANEWISE_OPS_DISTANCE_SELECTION_H_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "ops/distance/neighbor.h"
#include "ops/distance/neighbor_results.h"
#include "ops/distance/search.h"
#include "runtime/parallel.h"

namespace lanewise::distance {

// In one thread's scratch. Each row has a list of candidates that is longer than k. When it is
// full, the k best of it are kept, the last of which is the row's limit from then on: most offers
// are refused by one comparison, and the others cost a few. Where k is so large that lists would
// not fit in a cache, they are shorter; the k best so far are then kept in the results, in order,
// and a full list is merged into them.
template <class T, class Bits>
class Selection final : public Chooser<T> {
 public:
  using Candidate = Neighbor<Bits>;

  static bool KeptInResults(int64_t k) { return k > 1 && ListLength(k) <= k; }
  // Rows for which the lists stay in a thread's share of the caches.
  static int64_t MostRows(int64_t k) {
    return kBytes / (ListLength(k) * int64_t{sizeof(Candidate)});
  }

  // For row first_row of the results and those after it. Takes ScratchBytes from scratch.
  Selection(int64_t k, const NeighborResults<T>& results, int64_t first_row, int64_t rows,
            Scratch& scratch)
      : k_(k),
        length_(ListLength(k)),
        results_(results),
        first_row_(first_row),
        lists_(scratch.Take<Candidate>(rows * length_)),
        last_(scratch.Take<Candidate>(rows)),
        counts_(scratch.Take<int64_t>(rows)),
        kept_(scratch.Take<int64_t>(rows)),
        limits_(scratch.Take<DistanceKey<T>>(rows)) {
    std::fill_n(last_, rows, Candidate::Last());
    std::fill_n(counts_, rows, 0);
    std::fill_n(kept_, rows, 0);
    std::fill_n(limits_, rows, std::numeric_limits<DistanceKey<T>>::max());
  }

  static size_t ScratchBytes(int64_t k, int64_t rows) {
    return Scratch::Bytes<Candidate>(rows * ListLength(k)) + Scratch::Bytes<Candidate>(rows) +
           2 * Scratch::Bytes<int64_t>(rows) + Scratch::Bytes<DistanceKey<T>>(rows);
  }

  const DistanceKey<T>* limits() const override { return limits_; }
  void Offer(int64_t row, int64_t column, uint64_t found, const T* distances) override {
    ForEachBit(found, [&](int64_t j) { Offer(row, column + j, distances[j]); });
  }
  // Once for each index, in any order. The distance is as the results' type holds it.
  void Offer(int64_t row, int64_t index, T distance) {
    const Candidate candidate = Candidate::Of(distance, index);
    if (!(candidate < last_[row])) return;
    Candidate* const list = lists_ + row * length_;
    if (k_ == 1) {
      list[0] = candidate;
      counts_[row] = 1;
      return SetLast(row, candidate);
    }
    list[counts_[row]++] = candidate;
    if (counts_[row] < length_) return;
    KeptInResults(k_) ? Merge(row) : Shorten(row);
  }

  // Lowers the row's limit, unless the offers since it was set are too few to matter.
  void Tighten(int64_t row) override {
    if (KeptInResults(k_) || k_ == 1 || counts_[row] < k_) return;
    const bool is_first = limits_[row] == std::numeric_limits<DistanceKey<T>>::max();
    if (counts_[row] >= k_ + CeilDiv(k_, 4) || is_first) Shorten(row);
  }

  // At the end: writes the k best, of at least so many offers, to the results.
  void Write(int64_t row) {
    if (KeptInResults(k_)) return Merge(row);
    results_.Write(first_row_ + row, Sorted(row), k_);
  }
  // At the end instead, unless KeptInResults: to[0, k) = the k best, filled up with Last().
  void CopyTo(int64_t row, Candidate* to) {
    const Candidate* const best = Sorted(row);
    std::fill(std::copy_n(best, counts_[row], to), to + k_, Candidate::Last());
  }

 private:
  static constexpr int64_t kBytes = int64_t{2} << 20, kLongestList = int64_t{1} << 15;
  // Beyond k at least, for some tiles' columns.
  static constexpr int64_t kSlack = 22;

  static int64_t ListLength(int64_t k) {
    const int64_t most = kLongestList / int64_t{sizeof(Candidate)};
    return k == 1 ? 1 : std::min(k < most ? k + std::max(k, kSlack) : k, most);
  }

  // The k best, or all.
  const Candidate* Sorted(int64_t row) {
    Candidate* const list = lists_ + row * length_;
    if (counts_[row] > k_) Shorten(row);
    Sort(list, list + counts_[row]);
    return list;
  }

  void Shorten(int64_t row) {
    Candidate* const list = lists_ + row * length_;
    BringForward(list, list + counts_[row], k_);
    counts_[row] = k_;
    SetLast(row, list[k_ - 1]);
  }

  [[gnu::noinline]] void Merge(int64_t row) {
    Candidate* const list = lists_ + row * length_;
    int64_t listed = counts_[row], kept = kept_[row];
    Sort(list, list + listed);
    const auto last_kept = [&] { return results_.template Get<Bits>(first_row_ + row, kept - 1); };
    const auto last_is_kept = [&] {
      return listed == 0 || (kept > 0 && list[listed - 1] < last_kept());
    };
    while (kept + listed > k_) --(last_is_kept() ? kept : listed);
    counts_[row] = 0;
    kept_[row] = kept + listed;
    while (listed > 0) {  // from the end, where there is room
      const int64_t to = kept + listed - 1;
      const bool move = last_is_kept();
      results_.Set(first_row_ + row, to, move ? last_kept() : list[listed - 1]);
      --(move ? kept : listed);
    }
    kept = kept_[row];
    if (kept == k_) SetLast(row, last_kept());
  }

  void SetLast(int64_t row, Candidate last) {
    last_[row] = last;
    limits_[row] = last.template key<T>();
  }

  const int64_t k_, length_;
  const NeighborResults<T>& results_;
  const int64_t first_row_;
  Candidate* const lists_;  // [row][length]
  Candidate* const last_;   // of the k best so far, or Last() while there are fewer
  int64_t* const counts_;   // of the lists
  int64_t* const kept_;     // in the results
  DistanceKey<T>* const limits_;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_SELECTION_H_
