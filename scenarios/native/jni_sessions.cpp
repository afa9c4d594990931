// The native half of app.NativeSessions.
#include <jni.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace sessions {

struct Session {
    std::string name;
    std::vector<std::int32_t> history;
};

class Table {
public:
    static constexpr std::int64_t kept = 4000;

    __attribute__((noinline)) void open(std::int64_t id) {
        auto session = std::make_unique<Session>();
        session->name = "session of a user whose id is " + std::to_string(id);
        session->history.assign(200, static_cast<std::int32_t>(id));
        sessions_[id] = std::move(session);
    }

    void remove_old(std::int64_t newest) {
        while (!sessions_.empty() && sessions_.begin()->first + kept < newest) {
            sessions_.erase(sessions_.begin());
        }
    }

    // The bug: the comparison is the wrong way round, so that no session ever counts as old.
    void remove_old_inverted(std::int64_t newest) {
        while (!sessions_.empty() && sessions_.begin()->first > newest + kept) {
            sessions_.erase(sessions_.begin());
        }
    }

private:
    std::map<std::int64_t, std::unique_ptr<Session>> sessions_;
};

std::mutex lock;
Table table;

}  // namespace sessions

extern "C" JNIEXPORT void JNICALL Java_app_NativeSessions_openInverted(JNIEnv *, jclass, jlong id) {
    std::lock_guard<std::mutex> guard(sessions::lock);
    sessions::table.open(id);
    sessions::table.remove_old_inverted(id);
}

extern "C" JNIEXPORT void JNICALL Java_app_NativeSessions_open(JNIEnv *, jclass, jlong id) {
    std::lock_guard<std::mutex> guard(sessions::lock);
    sessions::table.open(id);
    sessions::table.remove_old(id);
}
