#include "core/components.h"

#include <algorithm>
#include <random>

#include "check.h"

namespace {

using Plane = std::vector<char>;

// By flooding from every cell: slow and plain.
std::vector<std::int64_t> by_flooding(const Plane& inside, std::int64_t rows, std::int64_t columns) {
  std::vector<std::int64_t> areas(inside.size(), 0);
  for (std::int64_t start = 0; start < rows * columns; ++start) {
    if (!inside[static_cast<std::size_t>(start)]) continue;
    std::vector<char> seen(inside.size(), 0);
    std::vector<std::int64_t> open{start};
    seen[static_cast<std::size_t>(start)] = 1;
    std::int64_t area = 0;
    while (!open.empty()) {
      const std::int64_t cell = open.back();
      open.pop_back();
      ++area;
      for (std::int64_t y = cell / columns - 1; y <= cell / columns + 1; ++y) {
        for (std::int64_t x = cell % columns - 1; x <= cell % columns + 1; ++x) {
          const auto at = static_cast<std::size_t>(y * columns + x);
          if (y < 0 || x < 0 || y >= rows || x >= columns || seen[at] || !inside[at]) continue;
          seen[at] = 1;
          open.push_back(y * columns + x);
        }
      }
    }
    areas[static_cast<std::size_t>(start)] = area;
  }
  return areas;
}

// '#' is 1, '.' is -1.
std::vector<float> drawn(const std::string& picture) {
  std::vector<float> logits;
  for (const char c : picture) logits.push_back(c == '#' ? 1.0f : -1.0f);
  return logits;
}

std::string cleaned(const std::string& picture, std::int64_t rows, std::int64_t holes, std::int64_t sprinkles) {
  auto logits = drawn(picture);
  sam3::clean_mask(logits.data(), rows, static_cast<std::int64_t>(picture.size()) / rows, 0, holes, sprinkles);
  std::string out;
  for (const float value : logits) out += value == 1 ? '#' : value == -1 ? '.' : value == 10 ? 'F' : value == -10 ? 'r' : '?';
  return out;
}

}  // namespace

TEST("components: areas of random planes of every density are those that flooding finds") {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    const std::int64_t rows = 1 + static_cast<std::int64_t>(random() % 12);
    const std::int64_t columns = 1 + static_cast<std::int64_t>(random() % 12);
    Plane plane(static_cast<std::size_t>(rows * columns));
    for (auto& cell : plane) cell = random() % 10 < static_cast<unsigned>(round % 11) ? 1 : 0;
    EXPECT(sam3::component_areas(plane, rows, columns) == by_flooding(plane, rows, columns));
  }
}

TEST("components: holes are filled and sprinkles removed up to their areas, cells at a corner belong together") {
  const std::string picture =
      "#####...."
      "#.#.#.#.."
      "##.##..#."
      "#####....";
  // The three background cells inside touch at corners: one hole of three.
  EXPECT(cleaned(picture, 4, 0, 0) == picture);
  EXPECT(cleaned(picture, 4, 2, 1) == picture);
  EXPECT(cleaned(picture, 4, 3, 0) == "#####....#F#F#.#..##F##..#.#####....");
  EXPECT(cleaned(picture, 4, 3, 2) == "#####....#F#F#.r..##F##..r.#####....");
}

TEST("components: both are looked for in the mask as it came, and everything may be one") {
  // A speck in a hole: the hole is filled around it, the speck removed.
  EXPECT(cleaned("######...##.#.##...######", 5, 8, 1) == "######FFF##FrF##FFF######");
  EXPECT(cleaned("....", 2, 4, 0) == "FFFF");
  EXPECT(cleaned("....", 2, 3, 0) == "....");
  EXPECT(cleaned("####", 2, 0, 4) == "rrrr");
}

namespace {

// Rows are parted by blanks.
std::string swept(std::string picture, std::int64_t columns, std::int64_t area) {
  std::erase(picture, ' ');
  auto logits = drawn(picture);
  sam3::fill_and_sweep(logits.data(), static_cast<std::int64_t>(logits.size()) / columns, columns, area);
  std::string result;
  for (const float value : logits) {
    result += value == 0.1f ? '+' : value == -0.1f ? '-' : value > 0 ? '#' : '.';
  }
  return result;
}

}  // namespace

TEST("components: between frames holes are filled first, then specks go, of at most half of the mask") {
  // A hole of two cells that touch with a corner is one component of two, and of the right size at 2, not at 1.
  EXPECT(swept("##### #.### ##.## #####", 5, 2) == "#####" "#+###" "##+##" "#####");
  EXPECT(swept("##### #.### ##.## #####", 5, 1) == "#####" "#.###" "##.##" "#####");
  // A speck of one cell goes where the mask is large, and stays where it is more than half of the mask.
  EXPECT(swept("#.... ..... ...## ...##", 5, 3) == "-...." "....." "...##" "...##");
  EXPECT(swept("#.... ..... .....", 5, 3) == "#...." "....." ".....");
  EXPECT(swept("#...# ..... .....", 5, 3) == "-...-" "....." ".....");
  // Zero is outside; a filled hole counts to the mask that specks are measured by.
  std::vector<float> zeros(4, 0.0f);
  sam3::fill_and_sweep(zeros.data(), 2, 2, 4);
  EXPECT(zeros == std::vector<float>(4, 0.1f));
  EXPECT(swept("###. #.#. ###. ....", 4, 1) == "###." "#+#." "###." "....");
}
