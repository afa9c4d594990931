// A C++ program without a JVM: an index of documents that only grows in one mode, and evicts in the other.
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

extern "C" {
#include "scenario.h"
}

namespace {

constexpr std::size_t documents = 15000;

class Index {
public:
    __attribute__((noinline)) void add(int id) {
        auto key = "document number " + std::to_string(id);
        postings_[key] = std::vector<int>(300, id);
        order_.push_back(std::move(key));
    }

    void evict() {
        while (order_.size() > documents) {
            postings_.erase(order_.front());
            order_.pop_front();
        }
    }

private:
    std::unordered_map<std::string, std::vector<int>> postings_;
    std::deque<std::string> order_;
};

Index all;
int next_id;

void add() {
    all.add(next_id++);
}

void add_and_evict() {
    all.add(next_id++);
    all.evict();
}

}  // namespace

int main(int argc, char **argv) {
    struct scenario s = scenario_of(argc, argv);
    scenario_ready(&s);
    const std::string mode = s.mode;
    if (mode == "grows") {
        scenario_pace(&s, 1400, 0, add);
    } else if (mode == "evicts") {
        scenario_pace(&s, 1400, 0, add_and_evict);
    }
    return 2;
}
