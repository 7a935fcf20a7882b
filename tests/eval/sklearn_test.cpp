// The measures against scikit-learn's, where Python has it: random tables, ties, absent classes.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/eval/metrics_json.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::eval {
namespace {

// Debian's packages are those of /usr/bin/python3.
constexpr const char* kPython = "/usr/bin/python3";

int run_python(const std::filesystem::path& folder, const std::string& script) {
  std::ofstream(folder / "script.py") << script;
  const std::string command =
      "cd '" + folder.string() + "' && " + kPython + " script.py > out.txt 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string output(const std::filesystem::path& folder) {
  std::ifstream file(folder / "out.txt");
  return {std::istreambuf_iterator<char>(file), {}};
}

// ECE and MCE are not in scikit-learn: written down anew, bin by bin, with its calibration_curve's
// kind of binning by comparison with the edges.
constexpr const char* kScript = R"py(
import json, math
import numpy as np
from sklearn import metrics as sk

def near(got, want, what):
    if want is None or (isinstance(want, float) and math.isnan(want)):
        assert got is None, (what, got, want)
    else:
        assert got is not None and abs(got - want) < 1e-12, (what, got, want)

for number, case in enumerate(json.load(open('cases.json'))):
    y, C, got = np.array(case['y']), case['C'], case['metrics']
    p = np.array(case['p']).reshape(len(y), C)
    labels = list(range(C))
    best = p.argmax(1)
    where = 'case %d ' % number
    near(got['accuracy'], sk.accuracy_score(y, best), where + 'accuracy')
    near(got['log_loss'], sk.log_loss(y, p, labels=labels, eps=1e-15), where + 'log_loss')
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        y, best, labels=labels, zero_division=0)
    near(got['macro_f1'], f1.mean(), where + 'macro_f1')
    assert got['confusion'] == sk.confusion_matrix(y, best, labels=labels).tolist(), where
    assert got['per_class']['support'] == support.tolist(), where
    auc, ap = [], []
    for c in labels:
        truth = y == c
        auc.append(sk.roc_auc_score(truth, p[:, c]) if 0 < truth.sum() < len(y) else math.nan)
        ap.append(sk.average_precision_score(truth, p[:, c]) if truth.any() else math.nan)
        near(got['per_class']['precision'][c], precision[c], where + 'precision')
        near(got['per_class']['recall'][c], recall[c], where + 'recall')
        near(got['per_class']['f1'][c], f1[c], where + 'f1')
        near(got['per_class']['roc_auc'][c], auc[c], where + 'auc of %d' % c)
        near(got['per_class']['average_precision'][c], ap[c], where + 'ap of %d' % c)
    with np.errstate(all='ignore'):
        near(got['roc_auc'], np.nanmean(auc) if not np.all(np.isnan(auc)) else None, where + 'auc')
        near(got['average_precision'], np.nanmean(ap), where + 'ap')
    confidence, gaps, shares = p.max(1), [], []
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        assert got['calibration']['bins'][b]['count'] == inside.sum(), where + 'bin %d' % b
        if inside.any():
            gaps.append(abs((best == y)[inside].mean() - confidence[inside].mean()))
            shares.append(inside.mean())
    near(got['calibration']['ece'], float(np.dot(gaps, shares)), where + 'ece')
    near(got['calibration']['mce'], max(gaps), where + 'mce')
print(number + 1, 'cases')
)py";

struct Case {
  index_t rows, C;
  int steps;                ///< probabilities are multiples of 1 / steps (a power of 2); 0: any
  std::vector<int> absent;  ///< classes that no row is of
};

TEST(Sklearn, AgreesOnEveryCase) {
  const test::TempDir dir;
  if (run_python(dir.path(), "import sklearn, numpy") != 0) {
    GTEST_SKIP() << "no scikit-learn in " << kPython;
  }
  const std::vector<Case> kinds{{1, 2, 0, {}},     {7, 3, 0, {}},      {200, 3, 0, {}},
                                {200, 3, 8, {}},   {500, 10, 4, {}},   {60, 4, 4, {2}},
                                {60, 4, 0, {0, 3}}, {40, 3, 8, {0, 1}}, {1000, 2, 16, {}}};
  auto cases = nlohmann::json::array();
  std::uint64_t step = 0;
  for (const Case& kind : kinds) {
    RandomStream random(31, Purpose::test, step++);
    std::vector<double> p;
    std::vector<int> y;
    for (index_t i = 0; i < kind.rows; ++i) {
      // Shares of so many balls in C urns: all sums are exact.
      std::vector<double> row(static_cast<std::size_t>(kind.C));
      if (kind.steps > 0) {
        for (int s = 0; s < kind.steps; ++s) {
          row[random.below(static_cast<std::uint64_t>(kind.C))] += 1.0 / kind.steps;
        }
      } else {
        double sum = 0;
        for (double& v : row) sum += v = 0.01 + static_cast<double>(random.uniform());
        for (double& v : row) v /= sum;
      }
      int label = -1;
      do {
        label = random.chance(0.4f)
                    ? static_cast<int>(std::max_element(row.begin(), row.end()) - row.begin())
                    : static_cast<int>(random.below(static_cast<std::uint64_t>(kind.C)));
      } while (std::find(kind.absent.begin(), kind.absent.end(), label) != kind.absent.end());
      p.insert(p.end(), row.begin(), row.end());
      y.push_back(label);
    }
    std::vector<std::string> names;
    for (index_t c = 0; c < kind.C; ++c) names.push_back(std::to_string(c));
    cases.push_back({{"C", kind.C},
                     {"p", p},
                     {"y", y},
                     {"metrics", to_json(compute_metrics(p, y, kind.C), names)}});
  }
  std::ofstream(dir / "cases.json") << cases.dump();
  EXPECT_EQ(run_python(dir.path(), kScript), 0) << output(dir.path());
  EXPECT_NE(output(dir.path()).find(std::to_string(kinds.size()) + " cases"),
            std::string::npos);
}

}  // namespace
}  // namespace mwalimu::eval
