#include "fuzz/target.hpp"
#include "mwalimu/io/csv.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mwalimu;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<io::CsvDefect> defects;
  for (auto* kept : {static_cast<std::vector<io::CsvDefect>*>(nullptr), &defects}) {
    try {
      const io::CsvTable table = io::parse_csv(text, "input", kept);
      if (table.lines.size() != table.rows.size()) std::abort();
      for (std::size_t i = 0; i < table.rows.size(); ++i) {
        if (table.rows[i].size() != table.header.size()) std::abort();
        table.number(i, 0);
      }
    } catch (const FileError&) {
    }
  }
  return 0;
}

std::vector<std::string> mwalimu::fuzz::seeds() {
  return {"a,b\n1,2\n", "\xEF\xBB\xBFImage_id,Label\r\n1e-3,\"x,\"\"y\"\"\"\r\n\r\n3,z",
          "n\n-1\nnan\n"};
}
