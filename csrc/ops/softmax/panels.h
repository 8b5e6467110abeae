// Blocks of positions, and how their elements are packed: as [panel][element along the axes][NR
// lanes], where the lanes are positions; a row is a panel of one lane.
#ifndef LANEWISE_OPS_SOFTMAX_PANELS_H_
#define LANEWISE_OPS_SOFTMAX_PANELS_H_

#include <algorithm>
#include <cstdint>

#include "ops/softmax/problem.h"
#include "runtime/parallel.h"

namespace lanewise {

template <class T>
class Panels {
 public:
  Panels(const Problem<T>& problem, const Plan& plan, Scratch& scratch)
      : p_(problem), nr_(plan.nr), size_(plan.chunk * plan.nr) {
    pieces_ = scratch.Take<Piece>(plan.block());
    strip_ = scratch.Take<T>(nr_ * kStrip);
    for (int i = 0; i < kMaxArrays; ++i) inner_[i] = p_.strides[i].inner;
  }

  static size_t ScratchBytes(const Plan& plan) {
    return Scratch::Bytes<Piece>(plan.block()) + Scratch::Bytes<T>(plan.nr * kStrip);
  }

  // From now on the block is positions [begin, end), at most plan.block() of them.
  void Hold(int64_t begin, int64_t end) {
    pieces_end_ = pieces_;
    int64_t panel = 0, lane = 0;  // counted, since divisions would show in short rows
    p_.positions.ForEachRun(begin, end, [&](int64_t length, Positions::Offsets offsets) {
      while (length > 0) {
        const int64_t count = std::min(nr_ - lane, length);
        *pieces_end_++ = {panel, lane, count, offsets};
        length -= count;
        lane += count;
        if (lane == nr_) ++panel, lane = 0;
        for (int i = 0; i < kMaxArrays; ++i) offsets[i] += count * inner_[i];
      }
    });
    full_ = panel;
    count_ = panel + (lane > 0);
  }

  int64_t count() const { return count_; }
  bool last_is_full() const { return full_ == count_; }
  int64_t size() const { return size_; }  // elements from one panel to the next

  // Where element i of the first position is.
  int64_t Offset(int array, int64_t i) const {
    return pieces_->offsets[array] + i * p_.strides[array].axis;
  }

  // Elements [i, i + n) along the axes.
  void Load(int array, int64_t i, int64_t n, T* packed) const {
    const Source<T>& from = p_.sources[array];
    const Strides& strides = p_.strides[array];
    if (AreRows(strides) && from.native()) {
      for (const Piece* piece = pieces_; piece != pieces_end_; ++piece) {
        p_.kernels.transpose(from.InPlace() + piece->offsets[array] + i, strides.inner,
                             piece->count, n, packed + PackedAt(*piece), nr_);
      }
      return;
    }
    ForEachPiece(array, i, n, [&](const Extent& at) {
      Pack(from + at.offset, strides, at, packed + at.packed);
    });
  }
  void LoadMask(int64_t i, int64_t n, uint8_t* packed) const {
    const Strides& strides = p_.strides[kMask];
    ForEachPiece(kMask, i, n, [&](const Extent& at) {
      const uint8_t* from = p_.mask + at.offset;
      uint8_t* to = packed + at.packed;
      if (nr_ == 1) return Gather(from, strides.axis, at.rows, to);
      for (int64_t r = 0; r < at.rows; ++r) {
        Gather(from + r * strides.axis, strides.inner, at.lanes, to + r * nr_);
      }
    });
  }
  void Store(const T* packed, int64_t i, int64_t n) const {
    const Strides& strides = p_.strides[kOut];
    if (AreRows(strides) && p_.out.native()) {
      for (const Piece* piece = pieces_; piece != pieces_end_; ++piece) {
        p_.kernels.transpose(packed + PackedAt(*piece), nr_, n, piece->count,
                             p_.out.InPlace() + piece->offsets[kOut] + i, strides.inner);
      }
      return;
    }
    ForEachPiece(kOut, i, n, [&](const Extent& at) {
      Unpack(packed + at.packed, at, p_.out + at.offset, strides);
    });
  }
  // One result per position, as [panel][lane].
  void StoreTotals(const T* totals) const {
    for (const Piece* piece = pieces_; piece != pieces_end_; ++piece) {
      (p_.out + piece->offsets[kOut])
          .Write(totals + piece->panel * nr_ + piece->lane, piece->count, p_.strides[kOut].inner);
    }
  }

 private:
  // Elements of a row that are read, and converted, before they are transposed: a few cache lines.
  static constexpr int64_t kStrip = 64;

  // Neighbours on the positions' innermost axis that go to neighbouring lanes of one panel.
  struct Piece {
    int64_t panel, lane, count;
    Positions::Offsets offsets;
  };

  // Rows × lanes of a piece: where they are in memory and in the packed block.
  struct Extent {
    int64_t rows, lanes, offset, packed;
  };

  // Whether the lanes of a panel are rows in memory. Where they hold T, they are transposed without
  // the detour of all the rest, which would show in short rows.
  bool AreRows(const Strides& strides) const {
    return nr_ > 1 && strides.inner != 1 && strides.contiguous();
  }
  int64_t PackedAt(const Piece& piece) const { return piece.panel * size_ + piece.lane; }

  // Calls f for elements [i, i + n) of all pieces: a few elements at a time where positions are
  // neighbours, and a run at a time where they are rows of several, so that whole memory pages are
  // used.
  template <class F>
  void ForEachPiece(int array, int64_t i, int64_t n, const F& f) const {
    const Strides& strides = p_.strides[array];
    if (nr_ == 1) {
      int64_t packed = 0;
      return strides.along.ForEachRun(i, i + n, [&](int64_t rows, const Along::Offsets& along) {
        for (const Piece* piece = pieces_; piece != pieces_end_; ++piece) {
          f(Extent{rows, 1, piece->offsets[array] + along[0], PackedAt(*piece) + packed});
        }
        packed += rows;
      });
    }
    const int64_t step = strides.inner == 1 ? 16 : n;
    const bool single = strides.along.single();
    for (int64_t k = 0; k < n; k += step) {
      for (const Piece* piece = pieces_; piece != pieces_end_; ++piece) {
        int64_t packed = PackedAt(*piece) + k * nr_;
        if (single) {  // the one run of the walk below, without its cost
          const int64_t offset = piece->offsets[array] + (i + k) * strides.axis;
          f(Extent{std::min(step, n - k), piece->count, offset, packed});
          continue;
        }
        const auto run = [&](int64_t rows, const Along::Offsets& along) {
          f(Extent{rows, piece->count, piece->offsets[array] + along[0], packed});
          packed += rows * nr_;
        };
        strides.along.ForEachRun(i + k, i + std::min(k + step, n), run);
      }
    }
  }

  void Pack(const Source<T>& from, const Strides& strides, const Extent& at, T* to) const {
    if (nr_ == 1) return from.Read(strides.axis, at.rows, to);
    if (from.native() && strides.inner == 1) {
      p_.kernels.copy(from.InPlace(), strides.axis, at.rows, at.lanes, to, nr_);
    } else if (strides.inner != 1 && strides.axis == 1) {
      for (int64_t r = 0; r < at.rows; r += kStrip) {
        const int64_t rows = std::min(kStrip, at.rows - r);
        for (int64_t c = 0; c < at.lanes; ++c) {
          (from + r + c * strides.inner).Read(1, rows, strip_ + c * kStrip);
        }
        p_.kernels.transpose(strip_, kStrip, at.lanes, rows, to + r * nr_, nr_);
      }
    } else {
      for (int64_t r = 0; r < at.rows; ++r) {
        (from + r * strides.axis).Read(strides.inner, at.lanes, to + r * nr_);
      }
    }
  }

  void Unpack(const T* from, const Extent& at, const Sink<T>& to, const Strides& strides) const {
    if (nr_ == 1) return to.Write(from, at.rows, strides.axis);
    if (to.native() && strides.inner == 1) {
      p_.kernels.copy(from, nr_, at.rows, at.lanes, to.InPlace(), strides.axis);
    } else if (strides.inner != 1 && strides.axis == 1) {
      for (int64_t r = 0; r < at.rows; r += kStrip) {
        const int64_t rows = std::min(kStrip, at.rows - r);
        p_.kernels.transpose(from + r * nr_, nr_, rows, at.lanes, strip_, kStrip);
        for (int64_t c = 0; c < at.lanes; ++c) {
          (to + r + c * strides.inner).Write(strip_ + c * kStrip, rows, 1);
        }
      }
    } else {
      for (int64_t r = 0; r < at.rows; ++r) {
        (to + r * strides.axis).Write(from + r * nr_, at.lanes, strides.inner);
      }
    }
  }

  const Problem<T>& p_;
  const int64_t nr_, size_;
  Positions::Offsets inner_;  // strides between neighbouring positions
  int64_t full_ = 0, count_ = 0;
  Piece *pieces_, *pieces_end_ = nullptr;  // scratch
  T* strip_;                               // scratch, [lane][kStrip]
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_PANELS_H_
