// A C++ program without a JVM: a journal in one array that doubles whenever it is full.
#include <string>
#include <vector>

extern "C" {
#include "scenario.h"
}

namespace {

struct Entry {
    long number;
    double values[11];
};

std::vector<Entry> journal;

__attribute__((noinline)) void journal_append() {
    Entry entry{};
    entry.number = static_cast<long>(journal.size());
    journal.push_back(entry);
}

}  // namespace

int main(int argc, char **argv) {
    struct scenario s = scenario_of(argc, argv);
    for (int i = 0; i < 300'000; i++) {
        journal_append();
    }
    scenario_ready(&s);
    if (std::string(s.mode) == "appends") {
        scenario_pace(&s, sizeof(Entry), 0, journal_append);
    }
    return 2;
}
