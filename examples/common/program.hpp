// examples/common/program: what surrounds every program, so that each shows only its own step.
//
//     int main(int argc, char** argv) {
//       using namespace mwalimu::programs;
//       CommonOptions common;
//       int epochs = 10;
//       return run_program(
//           argc, argv, {.description = "Learns from pairs.", .example = "pretrain --data D --out
//           O"},
//           [&](CLI::App& app) {
//             add_common_options(app, common);
//             app.add_option("--epochs", epochs, "passes over the images");
//           },
//           [&](const CLI::App& app) {
//             const Device device = start(common);
//             ...
//           });
//     }
#pragma once

#include <CLI/CLI.hpp>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "common/config_file.hpp"
#include "common/options.hpp"
#include "common/output_folder.hpp"
#include "common/suggestion.hpp"
#include "mwalimu/core/check.hpp"

#ifndef MWALIMU_VERSION
#define MWALIMU_VERSION "unknown"
#endif

namespace mwalimu::programs {

/// Exit codes of all programs.
enum ExitCode : int {
  kSuccess = 0,
  kFailure = 1,     ///< not the user's doing: no memory, a full disk, a library's or our own error
  kWrongInput = 2,  ///< a wrong option or input
};

struct ProgramText {
  std::string description;  ///< what the program does, a sentence or two
  std::string example;      ///< one command that works
};

namespace detail {

/// Prints one line, whatever the text holds.
inline int report_error(const std::string& program, std::string text, ExitCode code) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::cerr << program << ": " << text << std::endl;
  return code;
}

/// A file that cannot be read, or a folder that cannot be written, is a wrong input; a disk that
/// fails or fills up is not. FileError has one type for both, and the system's own text in it.
inline ExitCode exit_code(const FileError& error) {
  const std::string text = error.what();
  for (const int code : {ENOSPC, EDQUOT, EFBIG, EIO}) {
    if (text.find(io::detail::errno_text(code)) != std::string::npos) return kFailure;
  }
  return kWrongInput;
}

inline std::string parse_error_text(const CLI::App& app, const CLI::ParseError& error) {
  std::string text = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const std::vector<std::string> rest = app.remaining();
    std::string word = rest.empty() ? std::string() : rest.front();
    text = "unknown argument '" + word + "'";
    if (word.starts_with("--")) {
      word = word.substr(2, word.find('=') - 2);
      text += suggestion(word, option_names(app));
    }
  } else if (dynamic_cast<const CLI::FileError*>(&error) != nullptr) {
    text = "--config: " + text;
  }
  return text + "; " + app.get_name() + " --help lists the options";
}

/// The value of an option as typed, before anything is parsed; empty where it is not given.
inline std::string raw_value(const std::vector<std::string>& arguments, const std::string& option) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == option && i + 1 < arguments.size()) return arguments[i + 1];
    if (arguments[i].starts_with(option + "=")) return arguments[i].substr(option.size() + 1);
  }
  return {};
}

/// `--resume --out DIR` continues with the options of that run: they are in its config.toml.
inline void add_config_of_resumed_run(std::vector<std::string>& arguments) {
  const bool resume = std::find(arguments.begin(), arguments.end(), "--resume") != arguments.end();
  const std::string out = raw_value(arguments, "--out");
  if (!resume || out.empty() || !raw_value(arguments, "--config").empty()) return;
  const std::filesystem::path config = std::filesystem::path(out) / "config.toml";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(config, ignored)) return;
  arguments.insert(arguments.end(), {"--config", config.string()});
}

}  // namespace detail

/// Parses the command line, runs body(app), and turns whatever happens into an exit code and, where
/// it is a failure, one line on stderr: what is wrong, where, and what to do.
///
/// Every program gets --help (options, defaults, one example), --version, and --config FILE: TOML
/// with the options' names, read strictly; the command line wins.
///
/// @param declare  declare(CLI::App&) adds the program's options.
/// @param body     body(const CLI::App&) does the work; throws on failure.
template <class Declare, class Body>
int run_program(int argc, char** argv, const ProgramText& text, Declare&& declare, Body&& body) {
  const std::string name = std::filesystem::path(argc > 0 ? argv[0] : "mwalimu").filename();
  try {
    CLI::App app(text.description, name);
    // The last of a repeated option counts, so that scripts can append to a command.
    app.option_defaults()->always_capture_default();
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    app.set_version_flag("--version", name + " " MWALIMU_VERSION);
    declare(app);
    app.set_config("--config", "", "options from a TOML file; the command line wins")
        ->type_name("FILE");
    app.config_formatter(std::make_shared<ConfigFile>(app));
    std::string footer = app.get_footer();  // what the program has to say beside its options
    footer.append(footer.empty() ? "" : "\n\n").append("Example:\n  ").append(text.example);
    app.footer(footer);

    std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    detail::add_config_of_resumed_run(arguments);
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    try {
      app.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      std::cout << app.help() << std::flush;
      return std::cout ? kSuccess : kFailure;
    } catch (const CLI::CallForVersion&) {
      std::cout << app.version() << std::endl;
      return std::cout ? kSuccess : kFailure;
    } catch (const CLI::ParseError& error) {
      return detail::report_error(name, detail::parse_error_text(app, error), kWrongInput);
    }
    body(static_cast<const CLI::App&>(app));
    std::cout.flush();
    if (!std::cout) {
      return detail::report_error(name, "cannot write to standard output", kFailure);
    }
    return kSuccess;
  } catch (const FileError& error) {
    return detail::report_error(name, error.what(), detail::exit_code(error));
  } catch (const ValueError& error) {
    return detail::report_error(name, error.what(), kWrongInput);
  } catch (const ShapeError& error) {
    return detail::report_error(name, error.what(), kWrongInput);
  } catch (const DeviceError& error) {
    return detail::report_error(name, error.what(), kWrongInput);
  } catch (const std::bad_alloc&) {
    return detail::report_error(name, "out of memory; take a smaller batch, size or data set",
                                kFailure);
  } catch (const std::exception& error) {
    return detail::report_error(name, error.what(), kFailure);
  }
}

}  // namespace mwalimu::programs
