#include "mwalimu/io/csv.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string refusal(const std::string& text) {
  try {
    parse_csv(text, "Train.csv");
  } catch (const FileError& error) {
    return error.what();
  }
  return "(accepted)";
}

TEST(Csv, ReadsPlainAndQuotedFields) {
  const auto table = parse_csv("a,b\n1,2\n\" x \",\"say \"\"hi\"\", you\"\n,\n", "t");
  EXPECT_EQ(table.header, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(table.rows, (Rows{{"1", "2"}, {" x ", "say \"hi\", you"}, {"", ""}}));
  EXPECT_EQ(table.column("b"), 1u);
}

TEST(Csv, TakesEitherLineEndAByteOrderMarkAndNoLastLineEnd) {
  for (const char* text : {"a,b\n1,2\n", "a,b\r\n1,2\r\n", "a,b\n1,2",
                           "\xEF\xBB\xBF"
                           "a,b\r\n1,2"}) {
    const auto table = parse_csv(text, "t");
    EXPECT_EQ(table.header, (std::vector<std::string>{"a", "b"})) << text;
    EXPECT_EQ(table.rows, (Rows{{"1", "2"}})) << text;
  }
  EXPECT_TRUE(parse_csv("a,b", "t").rows.empty());
  EXPECT_EQ(parse_csv("a\n\n", "t").rows, (Rows{{""}}));  // one column: one empty field
}

TEST(Csv, CountsLinesThroughQuotedLineEnds) {
  const auto table = parse_csv("a,b\n\"x\ny\",1\nz,2\n", "t");
  EXPECT_EQ(table.rows[0][0], "x\ny");
  EXPECT_EQ(table.lines, (std::vector<std::size_t>{2, 4}));
}

TEST(Csv, NamesFileAndLineOfWhatIsWrong) {
  EXPECT_EQ(refusal(""), "Train.csv: empty, want at least a header row");
  EXPECT_EQ(refusal("\nx\n"), "Train.csv:1: blank, want a header row");
  EXPECT_EQ(refusal("a,b,a\n"), "Train.csv:1: two columns named 'a'");
  EXPECT_EQ(refusal("a,b\n1,2\n1\n"), "Train.csv:3: 1 field, the header has 2");
  EXPECT_EQ(refusal("a,b\n1,2,3\n"), "Train.csv:2: 3 fields, the header has 2");
  EXPECT_EQ(refusal("a,b\n\n1,2\n"), "Train.csv:2: a blank line, the header has 2");
  EXPECT_EQ(refusal("a,b\n1,\"2\n3,4\n"), "Train.csv:2: a quote is opened and never closed");
  EXPECT_NE(refusal("a,b\n1,\"2\"3\n").find("Train.csv:2: text behind a closing quote"),
            std::string::npos);
  EXPECT_NE(refusal("a,b\n1,2\"3\n").find("Train.csv:2: a quote inside"), std::string::npos);
  EXPECT_NE(refusal("a,b\n1,2\r3,4\n").find("Train.csv:2: a carriage return"), std::string::npos);
  EXPECT_NE(refusal(std::string("a,b\n1,\0\n", 8)).find("Train.csv:2: a zero byte"),
            std::string::npos);
}

TEST(Csv, CollectsDefectiveRowsWhereAsked) {
  std::vector<CsvDefect> defects;
  const auto table = parse_csv("a,b\n1,2\n1\n\n3,4\n", "Train.csv", &defects);
  EXPECT_EQ(table.rows, (Rows{{"1", "2"}, {"3", "4"}}));
  EXPECT_EQ(table.lines, (std::vector<std::size_t>{2, 5}));
  ASSERT_EQ(defects.size(), 2u);
  EXPECT_EQ(defects[0].line, 3u);
  EXPECT_EQ(defects[1].text, "Train.csv:4: a blank line, the header has 2");
}

TEST(Csv, NamesAMissingColumnAndABadNumber) {
  const auto table = parse_csv("a,b\n1,x\n2.5,-1e3\n", "t.csv");
  EXPECT_EQ(table.number(1, 0), 2.5);
  EXPECT_EQ(table.number(1, 1), -1000);
  try {
    table.number(0, 1);
    FAIL();
  } catch (const FileError& error) {
    EXPECT_STREQ(error.what(), "t.csv:2: want a number in column b, got 'x'");
  }
  try {
    table.column("Label");
    FAIL();
  } catch (const FileError& error) {
    EXPECT_STREQ(error.what(), "t.csv:1: no column 'Label', the header is 'a,b'");
  }
}

// In time that grows with their number, not with its square, which would be minutes.
TEST(Csv, ReadsAHeaderOfManyColumns) {
  std::string text = "0";
  for (int i = 1; i < 200000; ++i) text.append(",").append(std::to_string(i));
  EXPECT_EQ(parse_csv(text, "t.csv").header.size(), 200000u);
  EXPECT_THROW(parse_csv(text + ",7", "t.csv"), FileError);
}

TEST(CsvWriter, ReadsBackWhatWasWritten) {
  const test::TempDir dir;
  const Rows rows{{"plain", "with, comma"}, {"\"quoted\"", "two\nlines"}, {"", " spaces "}};
  CsvWriter csv(dir / "t.csv", {"first", "second"});
  for (const auto& row : rows) csv.row(row);
  csv.row("number", 0.1);
  csv.row(1, std::string("x"));
  EXPECT_FALSE(std::filesystem::exists(dir / "t.csv"));
  csv.commit();
  const auto table = read_csv(dir / "t.csv");
  EXPECT_EQ(Rows(table.rows.begin(), table.rows.begin() + 3), rows);
  EXPECT_EQ(table.rows[3], (std::vector<std::string>{"number", "0.1"}));
  EXPECT_EQ(table.rows[4], (std::vector<std::string>{"1", "x"}));
  EXPECT_EQ(read_file(dir / "t.csv").substr(0, 33), "first,second\nplain,\"with, comma\"\n");
}

TEST(CsvWriter, NumbersReadBackTheSame) {
  const test::TempDir dir;
  const std::vector<double> values{0.1, 1.0 / 3, 1e300, -0.0, 5e-324, 123456789.0};
  CsvWriter csv(dir / "t.csv", {"double", "float", "integer"});
  for (const double value : values) csv.row(value, static_cast<float>(value), 42);
  csv.row(std::numeric_limits<double>::quiet_NaN(), 0.1f, std::int64_t{-1});
  csv.commit();
  const auto table = read_csv(dir / "t.csv");
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(table.number(i, 0), values[i]);
  EXPECT_EQ(table.rows.back(), (std::vector<std::string>{"nan", "0.1", "-1"}));
}

TEST(CsvWriter, OneEmptyFieldIsNotABlankLine) {
  const test::TempDir dir;
  CsvWriter csv(dir / "t.csv", {"a"});
  csv.row("");
  csv.commit();
  EXPECT_EQ(read_file(dir / "t.csv"), "a\n\"\"\n");
}

TEST(CsvWriter, RefusesRowsOfAnotherWidth) {
  const test::TempDir dir;
  CsvWriter csv(dir / "t.csv", {"a", "b"});
  EXPECT_THROW(csv.row("1"), ValueError);
  EXPECT_THROW(csv.row({"1", "2", "3"}), ValueError);
  EXPECT_THROW(CsvWriter(dir / "t.csv", {}), ValueError);
  EXPECT_THROW(CsvWriter(dir / "none/t.csv", {"a"}), FileError);
}

}  // namespace
}  // namespace mwalimu::io
