#include "mwalimu/report/text.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "mwalimu/report/base64.hpp"

namespace mwalimu::report {
namespace {

TEST(Escaped, MarkupBecomesEntities) {
  EXPECT_EQ(escaped(R"(a < b && c > "d" 'e')"),
            "a &lt; b &amp;&amp; c &gt; &quot;d&quot; &#39;e&#39;");
  EXPECT_EQ(escaped("plain text\nwith a line"), "plain text\nwith a line");
  EXPECT_EQ(escaped("</script><b>"), "&lt;/script&gt;&lt;b&gt;");
}

TEST(Escaped, Utf8PassesAndWhatIsNoneIsReplaced) {
  constexpr const char* kReplacement = "\xEF\xBF\xBD";
  EXPECT_EQ(escaped("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x8C\xBE"),
            "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x8C\xBE");
  EXPECT_EQ(escaped("\xFFx"), std::string(kReplacement) + "x");
  EXPECT_EQ(escaped("\xC3"), kReplacement);                                  // cut short
  EXPECT_EQ(escaped("\xC0\xAF"), std::string(kReplacement) + kReplacement);  // overlong '/'
  EXPECT_EQ(escaped("\xE0\x80\xAF").find("\xE0"), std::string::npos);  // the same in three bytes
  EXPECT_EQ(escaped("\xED\xA0\x80").find("\xED"), std::string::npos);  // a surrogate
  EXPECT_EQ(escaped(std::string_view("\0\x1B", 2)), std::string(kReplacement) + kReplacement);
}

TEST(Fixed, DigitsWithoutLocaleOrNegativeZero) {
  EXPECT_EQ(fixed(1234.5678, 2), "1234.57");
  EXPECT_EQ(fixed(-0.5, 0), "0");  // half to even, and no sign left over
  EXPECT_EQ(fixed(-0.001, 2), "0.00");
  EXPECT_EQ(fixed(-0.01, 2), "-0.01");
  EXPECT_EQ(fixed(3, 3), "3.000");
  EXPECT_EQ(fixed(std::numeric_limits<double>::quiet_NaN(), 2), "nan");
  EXPECT_EQ(fixed(-std::numeric_limits<double>::infinity(), 2), "-inf");
  EXPECT_EQ(fixed(1e308, 40).size(), 350u);
}

TEST(Coordinate, TwoDigitsAtMost) {
  EXPECT_EQ(coordinate(12), "12");
  EXPECT_EQ(coordinate(12.30), "12.3");
  EXPECT_EQ(coordinate(0.005), "0.01");
  EXPECT_EQ(coordinate(-0.001), "0");
  EXPECT_EQ(coordinate(100), "100");
}

TEST(TextWidth, GrowsWithTheText) {
  EXPECT_EQ(text_width(""), 0);
  EXPECT_GT(text_width("MMM"), text_width("iii"));
  EXPECT_GT(text_width("\xE2\x82\xAC"), 0);  // one character, not three
  EXPECT_LT(text_width("\xE2\x82\xAC"), 1.5);
}

TEST(Base64, Rfc4648Vectors) {
  const auto encode = [](std::string_view text) {
    return base64(std::as_bytes(std::span(text.data(), text.size())));
  };
  EXPECT_EQ(encode(""), "");
  EXPECT_EQ(encode("f"), "Zg==");
  EXPECT_EQ(encode("fo"), "Zm8=");
  EXPECT_EQ(encode("foo"), "Zm9v");
  EXPECT_EQ(encode("foob"), "Zm9vYg==");
  EXPECT_EQ(encode("fooba"), "Zm9vYmE=");
  EXPECT_EQ(encode("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encode(std::string_view("\xFB\xFF\xBF\x00", 4)), "+/+/AA==");  // the last two letters
}

}  // namespace
}  // namespace mwalimu::report
