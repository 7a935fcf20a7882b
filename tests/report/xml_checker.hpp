// A strict reader of the markup that reports consist of, to test that it is well formed.
#pragma once

#include <cctype>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mwalimu::report::test {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;  ///< its own text, entities resolved, without that of its children
};

/// All elements in document order, and what is wrong ("" if nothing): tags must balance, attributes
/// be quoted and unique, & start one of the five entities or &#39;, and < stand for tags alone.
struct Document {
  std::vector<Element> elements;
  std::string error;

  std::vector<Element> all(std::string_view name) const {
    std::vector<Element> found;
    for (const Element& e : elements) {
      if (e.name == name) found.push_back(e);
    }
    return found;
  }
  std::size_t count(std::string_view name) const { return all(name).size(); }
  bool has_text(std::string_view text) const {
    for (const Element& e : elements) {
      if (e.text == text) return true;
    }
    return false;
  }
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}

  Document read() {
    if (in_.starts_with("<!DOCTYPE html>")) at_ = 15;
    while (out_.error.empty() && at_ < in_.size()) {
      if (in_[at_] == '<') {
        tag();
      } else {
        const std::string text = content('<');
        if (!open_.empty()) {
          out_.elements[open_.back()].text += text;
        } else if (text.find_first_not_of(" \n\t") != std::string::npos) {
          fail("text outside the root element");
        }
      }
    }
    if (out_.error.empty() && !open_.empty()) {
      fail("<" + out_.elements[open_.back()].name + "> is not closed");
    }
    if (out_.error.empty() && roots_ != 1) fail("not one root element");
    return out_;
  }

 private:
  void fail(const std::string& what) {
    if (out_.error.empty()) out_.error = what + " at byte " + std::to_string(at_);
  }
  std::string name() {
    const std::size_t start = at_;
    while (at_ < in_.size() && (std::isalnum(static_cast<unsigned char>(in_[at_])) ||
                                in_[at_] == '-' || in_[at_] == ':')) {
      ++at_;
    }
    if (at_ == start) fail("no name");
    return std::string(in_.substr(start, at_ - start));
  }
  void blanks() {
    while (at_ < in_.size() && std::isspace(static_cast<unsigned char>(in_[at_]))) ++at_;
  }
  bool take(std::string_view text) {
    if (in_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }
  /// Text up to `end`, with entities resolved.
  std::string content(char end) {
    static const std::map<std::string, char> kEntities{
        {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"#39", '\''}};
    std::string text;
    while (at_ < in_.size() && in_[at_] != end) {
      const char c = in_[at_];
      if (c == '<') fail("a bare <");
      if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t')
        fail("a control character");
      if (c == '&') {
        const std::size_t semicolon = in_.find(';', at_);
        const auto entity =
            semicolon == std::string_view::npos
                ? kEntities.end()
                : kEntities.find(std::string(in_.substr(at_ + 1, semicolon - at_ - 1)));
        if (entity == kEntities.end()) {
          fail("a bare &");
          return text;
        }
        text += entity->second;
        at_ = semicolon + 1;
      } else {
        text += c;
        ++at_;
      }
    }
    return text;
  }
  void tag() {
    ++at_;
    if (take("/")) {
      const std::string closed = name();
      if (!take(">")) return fail("a closing tag that does not end");
      if (open_.empty() || out_.elements[open_.back()].name != closed) {
        return fail("</" + closed + "> closes nothing");
      }
      open_.pop_back();
      return;
    }
    Element element;
    element.name = name();
    if (open_.empty()) ++roots_;
    for (blanks(); at_ < in_.size() && in_[at_] != '>' && in_[at_] != '/'; blanks()) {
      const std::string key = name();
      if (!out_.error.empty()) return;
      if (!take("=\"")) return fail("attribute " + key + " is not quoted");
      const std::string value = content('"');
      if (!take("\"")) return fail("attribute " + key + " does not end");
      if (!element.attributes.emplace(key, value).second)
        return fail("attribute " + key + " twice");
    }
    const bool empty = take("/");
    if (!take(">")) return fail("<" + element.name + " does not end");
    out_.elements.push_back(element);
    if (!empty) open_.push_back(out_.elements.size() - 1);
  }

  std::string_view in_;
  std::size_t at_ = 0;
  int roots_ = 0;
  std::vector<std::size_t> open_;
  Document out_;
};

inline Document parse(std::string_view markup) { return Reader(markup).read(); }

}  // namespace mwalimu::report::test
