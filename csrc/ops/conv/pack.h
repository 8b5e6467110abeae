// Operands of the direct convolution in the order in which its kernel reads them.
//
// The terms of an output's sum are numbered tap·C + c, tap = r·S + s; C counts the input channels
// of one group.
#ifndef LANEWISE_OPS_CONV_PACK_H_
#define LANEWISE_OPS_CONV_PACK_H_

#include <cstdint>
#include <vector>

#include "ops/conv/problem.h"
#include "runtime/buffer.h"

namespace lanewise {

// A range of consecutive terms: some taps with all their channels, or some channels of one tap.
struct TermBlock {
  int64_t tap_begin, tap_end, c_begin, c_end;

  int64_t taps() const { return tap_end - tap_begin; }
  int64_t depth() const { return c_end - c_begin; }
  int64_t terms() const { return taps() * depth(); }
};

// All terms in order, in blocks of at most `max_terms` and `max_taps`; one empty block if there are
// none.
std::vector<TermBlock> TermBlocks(const ConvShape& shape, int64_t max_terms, int64_t max_taps);

// A pixel of the output by its number oh·OW + ow, with the input position of its first tap.
struct Pixel {
  int64_t oh, ow, ih, iw;
};
void FillPixels(const ConvShape& shape, int64_t begin, int64_t end, Pixel* pixels);

// All filters as panels for lanes = output channels: [bank][group][⌈K/NR⌉][term][NR], the last
// panel of a group filled up with zeros.
template <class T>
Buffer<T> PackFilterPanels(const ConvProblem<T>& problem, int64_t nr);

// All filters as rows for lanes = pixels: [bank][group·K + k][term].
template <class T>
Buffer<T> PackFilterRows(const ConvProblem<T>& problem);

// True if the filters' own memory is PackFilterRows already, but for the distances between rows.
template <class T>
bool HasFilterRows(const ConvProblem<T>& problem);

// The input under one output pixel: to[term of the block], the border's elements outside the image.
// `x` is channel 0 of the group in the pixel's image.
template <class T>
void PackPixelRow(const ConvProblem<T>& problem, const Source<T>& x, const Pixel& pixel,
                  const TermBlock& block, T* to);

// The input under `count` <= nr neighbouring output pixels: panel[term of the block][nr], zeros
// past `count`.
template <class T>
void PackPixelPanel(const ConvProblem<T>& problem, const Source<T>& x, const Pixel* pixels,
                    int64_t count, const TermBlock& block, int64_t nr, T* panel);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_PACK_H_
