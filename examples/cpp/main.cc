// Ops on numbers that can be checked by hand; the exit code is 0 if they come out right.
#include <cstdio>
#include <vector>

#include "lanewise/lanewise.h"

int main() {
  std::printf("lanewise %s, %s\n", lanewise::Version().c_str(), lanewise::GetSimdTarget().c_str());

  // A 3 x 3 image of one channel under a 2 x 2 filter: each output is the sum of its window.
  const std::vector<float> image = {1, 2, 3, 4, 5, 6, 7, 8, 9}, filter = {1, 1, 1, 1};
  std::vector<float> sums(4);
  lanewise::Conv2d({image.data(), {1, 3, 3, 1}}, {filter.data(), {2, 2, 1, 1}}, nullptr, {},
                   {sums.data(), {1, 2, 2, 1}});
  std::printf("conv2d: %g %g %g %g\n", sums[0], sums[1], sums[2], sums[3]);

  // The same filter, packed once for many images.
  const lanewise::PackedFilter packed({filter.data(), {2, 2, 1, 1}});
  std::vector<float> again(4);
  lanewise::Conv2d({image.data(), {1, 3, 3, 1}}, packed, nullptr, {}, {again.data(), {1, 2, 2, 1}});

  // From the origin to two points of the plane.
  const std::vector<double> origin = {0, 0}, points = {3, 4, 5, 12};
  std::vector<double> distances(2);
  lanewise::PairwiseDistances({origin.data(), {1, 2}}, {points.data(), {2, 2}},
                              lanewise::Metric::kEuclidean, {distances.data(), {1, 2}});
  std::printf("pairwise_distances: %g %g\n", distances[0], distances[1]);

  const bool right = sums == std::vector<float>{12, 16, 24, 28} && again == sums &&
                     distances == std::vector<double>{5, 13};
  return right ? 0 : 1;
}
