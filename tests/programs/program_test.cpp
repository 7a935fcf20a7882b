#include "common/program.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <new>
#include <sstream>

#include "mwalimu/io/file.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::programs {
namespace {

struct Outcome {
  int code;
  std::string out, err;
  bool ran = false;  ///< the body was called
};

struct Options {
  CommonOptions common{.data = "images", .out = "runs/x"};
  int size = 128;
  double rate = 0.002;
  std::string crops = "2x128,6x96";
  std::string note;
};

// Runs a program with a few options of every kind; `body` sees what it was given.
Outcome run(std::vector<std::string> arguments,
            const std::function<void(const CLI::App&, const Options&)>& body = {}) {
  arguments.insert(arguments.begin(), "/somewhere/bin/teach");
  std::vector<char*> argv;
  argv.reserve(arguments.size());
  for (std::string& argument : arguments) argv.push_back(argument.data());
  std::ostringstream out, err;
  auto* const cout_before = std::cout.rdbuf(out.rdbuf());
  auto* const cerr_before = std::cerr.rdbuf(err.rdbuf());
  Options options;
  Outcome outcome;
  outcome.code = run_program(
      static_cast<int>(argv.size()), argv.data(),
      {.description = "Teaches.", .example = "teach --size 64"},
      [&](CLI::App& app) {
        add_common_options(app, options.common);
        app.add_option("--size", options.size, "pixels a side")->check(CLI::Range(1, 4096));
        app.add_option("--learning-rate", options.rate, "peak of the schedule");
        app.add_option("--crops", options.crops, "count x side, comma-separated");
        app.add_option("--note", options.note, "free text");
      },
      [&](const CLI::App& app) {
        outcome.ran = true;
        if (body) body(app, options);
      });
  std::cout.rdbuf(cout_before);
  std::cerr.rdbuf(cerr_before);
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

void expect_one_line(const Outcome& outcome, int code, const std::string& text) {
  EXPECT_EQ(outcome.code, code);
  EXPECT_EQ(outcome.err.rfind("teach: ", 0), 0u) << outcome.err;
  EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(outcome.err.back(), '\n');
}

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file) << text;
}

TEST(Program, SucceedsQuietly) {
  const Outcome outcome = run({"--size", "64"}, [](const CLI::App&, const Options& options) {
    EXPECT_EQ(options.size, 64);
  });
  EXPECT_TRUE(outcome.ran);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
}

TEST(Program, HelpHasDefaultsAndTheExample) {
  const Outcome outcome = run({"--help"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_FALSE(outcome.ran);
  for (const char* text : {"Teaches.", "--size", "128", "--learning-rate", "0.002", "2x128,6x96",
                           "--config", "--device", "auto", "teach --size 64"}) {
    EXPECT_NE(outcome.out.find(text), std::string::npos) << text << " in\n" << outcome.out;
  }
  EXPECT_EQ(run({"--version"}).out.rfind("teach ", 0), 0u);
}

TEST(Program, WrongOptionsAreOneLineAndTwo) {
  expect_one_line(run({"--sise", "64"}), 2, "unknown argument '--sise'; did you mean 'size'?");
  expect_one_line(run({"--sise=64"}), 2, "did you mean 'size'?");
  expect_one_line(run({"--zebra"}), 2, "unknown argument '--zebra'; teach --help");
  expect_one_line(run({"stray"}), 2, "'stray'");
  expect_one_line(run({"--size", "many"}), 2, "--size");
  expect_one_line(run({"--size", "0"}), 2, "--size");
  expect_one_line(run({"--size"}), 2, "--size");
  expect_one_line(run({"--device", "tpu"}), 2, "--device");
  expect_one_line(run({"--seed", "-1"}), 2, "--seed: want a whole number");
  expect_one_line(run({"--seed", "18446744073709551616"}), 2, "--seed: want a whole number");
  expect_one_line(run({"--config", "no-such.toml"}), 2, "no-such.toml");
}

TEST(Program, ErrorsOfTheBodyBecomeCodes) {
  const auto throwing = [](auto error) {
    return run({}, [error](const CLI::App&, const Options&) { throw error; });
  };
  expect_one_line(throwing(ValueError("size: want\nmore")), 2, "size: want more");
  expect_one_line(throwing(ShapeError("shape")), 2, "shape");
  expect_one_line(throwing(FileError("cannot read 'x': No such file or directory")), 2, "'x'");
  expect_one_line(throwing(FileError("cannot write 'x': No space left on device")), 1, "'x'");
  expect_one_line(throwing(DeviceError("no cuda")), 2, "no cuda");
  expect_one_line(throwing(DnnlError("refused")), 1, "refused");
  expect_one_line(throwing(std::bad_alloc()), 1, "out of memory");
  expect_one_line(throwing(std::logic_error("a bug")), 1, "a bug");
}

TEST(Program, DeviceAndPrecisionAreWhatTheBuildHas) {
  const auto started = [](std::vector<std::string> arguments) {
    return run(std::move(arguments), [](const CLI::App&, const Options& options) {
      EXPECT_EQ(start(options.common), Device::cpu());
    });
  };
  const int before = num_threads();
  EXPECT_NE(started({}).out.find("device: cpu (this build has no CUDA)"), std::string::npos);
  EXPECT_NE(
      started({"--threads", "1", "--device", "cpu"}).out.find("device: cpu, 1 thread, float32"),
      std::string::npos);
  EXPECT_NE(started({"--precision", "bfloat16"}).out.find("bfloat16\n"), std::string::npos);
  set_num_threads(before);
  expect_one_line(started({"--device", "cuda"}), 2, "this build has no CUDA; use --device cpu");
  expect_one_line(started({"--precision", "float16"}), 2,
                  "--precision: float16 needs a GPU; use bfloat16");
}

TEST(ConfigFile, IsReadAndTheCommandLineWins) {
  const test::TempDir folder;
  const auto file = folder / "run.toml";
  write(file,
        "# a comment\n"
        "size = 1_024   # another\r\n"
        "\n"
        "learning-rate=1e-4\n"
        "crops = \"2x224,6x96\"\n"
        "note = 'C:\\new # \"x\"'\n"
        "skip-bad = true\n"
        "seed = 18446744073709551615");
  const Outcome outcome = run({"--config", file, "--learning-rate", "0.5"},
                              [](const CLI::App&, const Options& options) {
                                EXPECT_EQ(options.size, 1024);
                                EXPECT_EQ(options.rate, 0.5);
                                EXPECT_EQ(options.crops, "2x224,6x96");
                                EXPECT_EQ(options.note, "C:\\new # \"x\"");
                                EXPECT_TRUE(options.common.skip_bad);
                                EXPECT_EQ(options.common.seed, ~std::uint64_t{0});
                              });
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

TEST(ConfigFile, MistakesNameTheLine) {
  const test::TempDir folder;
  const auto file = folder / "run.toml";
  const auto expect_error = [&](const std::string& text, const std::string& message) {
    write(file, text);
    expect_one_line(run({"--config", file}), 2, message);
  };
  expect_error("size = 1\n\nsise = 2\n",
               "run.toml line 3: unknown option 'sise'; did you mean 'size'?");
  expect_error("[training]\nsize = 1\n", "line 1: sections are not used");
  expect_error("size = 1\nsize = 2\n", "line 2: 'size' is set a second time");
  expect_error("crops = 2x128\n", "line 1: '2x128' is no number; text goes between quotes");
  expect_error("size\n", "line 1: want `size = value`");
  expect_error("size =\n", "line 1: the value is missing");
  expect_error("size = 1 2\n", "line 1: want one value");
  expect_error("note = \"abc\n", "line 1: the text has no closing quote");
  expect_error("note = \"\\q\"\n", "line 1: unknown escape \\q");
  expect_error("size = [1,\n\n2", "line 3: the array has no closing ]");
  expect_error("= 3\n", "line 1: want an option's name");
  expect_error("resume = true\n", "line 1: 'resume' can only be given on the command line");
  expect_error("size = \"many\"\n", "size");
}

TEST(ConfigFile, WhatIsWrittenGivesTheSameOptionsAgain) {
  const test::TempDir folder;
  const auto file = folder / "config.toml";
  const std::string hard = "say \"it's\"\\ # [x], {y} = 1\t\xc3\xa9\n.";
  const auto same = [&](const CLI::App& app, const Options& options) {
    EXPECT_EQ(options.note, hard);
    EXPECT_EQ(options.size, 77);
    EXPECT_EQ(options.common.out, "a folder");
    EXPECT_EQ(options.common.seed, 5u);
    EXPECT_FALSE(options.common.skip_bad);
    EXPECT_EQ(options.common.data, "123");
    write_config_toml(app, file);
  };
  EXPECT_EQ(
      run({"--note", hard, "--size", "77", "--out", "a folder", "--seed", "5", "--data", "123"},
          same)
          .code,
      0);
  const std::string first = io::read_file(file);
  const Outcome again = run({"--config", file}, same);
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(io::read_file(file), first);
  for (const char* line :
       {"learning-rate = 0.002\n", "crops = \"2x128,6x96\"\n", "device = \"auto\"\n",
        "skip-bad = false\n", "# pixels a side\nsize = 77\n"}) {
    EXPECT_NE(first.find(line), std::string::npos) << line << " in\n" << first;
  }
  for (const char* name : {"\nresume", "\noverwrite", "\nconfig", "\nhelp", "\nversion"}) {
    EXPECT_EQ(first.find(name), std::string::npos) << name;
  }
}

class OutputFolderTest : public ::testing::Test {
 protected:
  CommonOptions into(const std::string& name) {
    CommonOptions options;
    options.out = folder_ / name;
    return options;
  }
  void expect_error(const CommonOptions& options, const std::string& message) {
    try {
      const OutputFolder out(options, {"log.csv", "checkpoint.safetensors"});
      FAIL() << "no error, want " << message;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  }
  test::TempDir folder_;
};

TEST_F(OutputFolderTest, IsMadeAndVanishesWhereNothingWasWritten) {
  {
    const OutputFolder out(into("a/b/c/"), {"log.csv"});
    EXPECT_TRUE(std::filesystem::is_directory(folder_ / "a/b/c"));
    EXPECT_FALSE(out.resumed());
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a"));
  {
    const OutputFolder out(into("a/b"), {"log.csv"});
    write(out / "log.csv", "step\n");
  }
  EXPECT_TRUE(std::filesystem::exists(folder_ / "a/b/log.csv"));
}

TEST_F(OutputFolderTest, AnExistingFolderStays) {
  std::filesystem::create_directory(folder_ / "mine");
  { const OutputFolder out(into("mine"), {"log.csv"}); }
  EXPECT_TRUE(std::filesystem::exists(folder_ / "mine"));
}

TEST_F(OutputFolderTest, TwoRunsNeverMix) {
  std::filesystem::create_directory(folder_ / "run");
  write(folder_ / "run/config.toml", "size = 1\n");
  write(folder_ / "run/notes.txt", "mine\n");
  { const OutputFolder out(into("run"), {"log.csv", "checkpoint.safetensors"}); }  // no run yet

  write(folder_ / "run/log.csv", "step\n");
  expect_error(into("run"), "holds an earlier run (log.csv); choose another folder");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run/log.csv"));

  CommonOptions options = into("run");
  options.overwrite = true;
  { const OutputFolder out(options, {"log.csv", "checkpoint.safetensors"}); }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/log.csv"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run/notes.txt"));

  options.resume = true;
  expect_error(options, "exclude each other");
}

TEST_F(OutputFolderTest, ResumesWhereACheckpointIs) {
  CommonOptions options = into("run");
  options.resume = true;
  expect_error(options, "--resume: no run to continue in '");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));

  std::filesystem::create_directory(folder_ / "run");
  write(folder_ / "run/log.csv", "step\n");
  EXPECT_FALSE(OutputFolder(options, {"log.csv", "checkpoint.safetensors"}).resumed());
  write(folder_ / "run/checkpoint.safetensors", "");
  write(folder_ / "run/.mwalimu-1-2.tmp", "half a checkpoint");
  EXPECT_TRUE(OutputFolder(options, {"log.csv", "checkpoint.safetensors"}).resumed());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/.mwalimu-1-2.tmp"));
}

TEST_F(OutputFolderTest, AFileInTheWayIsOneError) {
  write(folder_ / "file", "x");
  expect_error(into("file"), "--out: cannot write into '");
  expect_error(into("file/below"), "--out: cannot write into '");
}

TEST_F(OutputFolderTest, AFolderThatIsClosedIsOneError) {
  namespace fs = std::filesystem;
  fs::permissions(folder_.path(), fs::perms(0755));
  fs::create_directory(folder_ / "closed");
  fs::create_directory(folder_ / "read_only");
  fs::permissions(folder_ / "closed", fs::perms(0700));
  fs::permissions(folder_ / "read_only", fs::perms(0555));
  // Permissions do not bind root, so a child checks as somebody else.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::geteuid() != 0) {
      fs::permissions(folder_ / "closed", fs::perms::none);
    } else if (::setgid(65534) != 0 || ::setuid(65534) != 0) {
      ::_exit(2);
    }
    for (const char* name : {"closed", "closed/below", "read_only", "read_only/below"}) {
      expect_error(into(name), "Permission denied; choose another folder");
    }
    ::_exit(HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  fs::permissions(folder_ / "closed", fs::perms(0700));
}

TEST_F(OutputFolderTest, AResumedRunKeepsItsOptions) {
  const std::string out = folder_ / "run";
  EXPECT_EQ(run({"--out", out, "--size", "77"},
                [](const CLI::App& app, const Options& options) {
                  const OutputFolder folder(options.common, {"log.csv"});
                  write_config_toml(app, folder / "config.toml");
                  write(folder / "log.csv", "step\n");
                })
                .code,
            0);
  const Outcome again =
      run({"--resume", "--out", out, "--note", "new"}, [](const CLI::App&, const Options& options) {
        EXPECT_EQ(options.size, 77);
        EXPECT_EQ(options.note, "new");
      });
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_TRUE(again.ran);
}

}  // namespace
}  // namespace mwalimu::programs
