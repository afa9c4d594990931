//! The report in a real browser: clicked through, by mouse and by keyboard.

mod common;

use common::Sample;
use common::browser::Browser;
use offheap_model::{Frame, FrameKind, ProfileSite};
use offheap_report::Report;
use offheap_report::serve::{Board, Server, Token};
use serde_json::json;
use std::path::Path;

const HOSTILE: &str = "</script><img src=x onerror=\"document.title='stolen'\"><svg onload=alert(1)>";

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// No error, no violation of the policy, and no request but for the page itself.
fn assert_calm(browser: &Browser, own: &str) {
    assert_eq!(browser.problems(), Vec::<String>::new());
    let strange: Vec<String> =
        browser.requests().into_iter().filter(|url| !url.starts_with(own) && url != "data:,").collect();
    assert_eq!(strange, Vec::<String>::new());
}

#[test]
fn the_report_is_clicked_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let page = Sample::read().render();
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    std::fs::write(&path, page).unwrap();
    let mut browser = Browser::start();
    browser.open(&url(&path), 1280, 900, false);
    let text = |browser: &mut Browser, selector: &str| {
        browser
            .value(&format!("document.querySelector({selector:?}).textContent"))
            .as_str()
            .unwrap()
            .to_owned()
    };

    // The top says it.
    assert_eq!(text(&mut browser, ".badge"), "Leak");
    assert!(text(&mut browser, "h1").starts_with("Leak in native-malloc: +"));
    assert!(text(&mut browser, ".site .stack").contains("app.NativeCodec.handleFrame"));
    assert!(text(&mut browser, ".facts").contains("Resident175 MiB → 317 MiB"));

    // The ticket's text is on the clipboard.
    browser.value(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async text => { window.copied = text; } } })",
    );
    browser.click("#verdict .copier button");
    browser.wait("document.querySelector('#verdict .said[role=status]').textContent === 'copied'");
    assert!(browser.value("window.copied").as_str().unwrap().starts_with("## offheap: leak"));

    // Sites sort both ways, by what their cells show.
    let cells = "[...document.querySelectorAll('.sites .body .c-allocated')].map(cell => cell.textContent)";
    browser.click("[data-sort=allocated]");
    browser.wait("document.querySelector('.sites .c-allocated').getAttribute('aria-sort') === 'descending'");
    assert_eq!(browser.value(cells)[0], "76.4 MiB");
    browser.click("[data-sort=allocated]");
    browser.wait("document.querySelector('.sites .c-allocated').getAttribute('aria-sort') === 'ascending'");
    assert_eq!(browser.value(cells)[0], "0 B");
    browser.click("[data-sort=leak]");
    browser.wait("document.querySelector('.sites .body .c-site b').textContent === 'frame_new'");

    // A click into the flame graph zooms, and the way back leads back.
    browser.click_at(".flame canvas", 0.3, 0.55);
    browser.wait("document.querySelectorAll('.path button').length > 1");
    assert!(text(&mut browser, ".info").contains("scenario."), "{}", text(&mut browser, ".info"));
    browser.click(".path button");
    browser.wait("document.querySelectorAll('.path button').length === 0");

    // Search says how much the matches hold, and leaves their sites.
    browser.value(
        "(() => { const field = document.querySelector('.search input'); field.value = 'codec_encode'; \
         field.dispatchEvent(new Event('input', { bubbles: true })); })()",
    );
    browser.wait("/^77\\.6 MiB, \\d+ %$/.test(document.querySelector('.hit').textContent)");
    browser.wait("document.querySelectorAll('.sites .body .row').length === 1");
    browser.value(
        "(() => { const field = document.querySelector('.search input'); field.value = ''; \
         field.dispatchEvent(new Event('input', { bubbles: true })); })()",
    );

    // A domain filters the code and shows what it is made of.
    browser.click("[data-domain=jvm-internal]");
    browser
        .wait("document.querySelector('[data-domain=jvm-internal]').getAttribute('aria-pressed') === 'true'");
    browser.wait(
        "[...document.querySelectorAll('.sites .body .c-domain')].every(cell => cell.textContent === 'jvm-internal')",
    );
    browser.wait("document.querySelector('.filter').textContent.startsWith('Only jvm-internal: ')");
    assert!(text(&mut browser, ".detail").starts_with("jvm-internal"));
    browser.click(".filter button");
    browser.wait("document.querySelector('.filter').hidden");

    // A span of the chart: the account says what moved in it, the code what came in it, and in
    // which direction.
    browser.drag("#account canvas", 0.3, 0.7);
    browser.wait("document.querySelector('.span').textContent.startsWith('Span ')");
    browser.wait("document.querySelector('.direction').textContent.includes('later less earlier, +')");
    browser.wait("document.querySelector('.sites .header').textContent.includes('In span')");
    browser.click(".span button");
    browser.wait("document.querySelector('.span').hidden && document.querySelector('.direction').hidden");
    browser.click("#compare");
    browser.wait("document.querySelectorAll('.compare select').length === 2");
    browser.click("[data-value=live]");
    browser.wait("document.querySelectorAll('.compare select').length === 0");

    // The theme, and back.
    let background = "getComputedStyle(document.body).backgroundColor";
    let light = browser.value(background);
    browser.click("#theme");
    browser.wait("document.documentElement.dataset.theme === 'dark'");
    assert_ne!(browser.value(background), light);
    browser.click("#theme");
    browser.wait("document.documentElement.dataset.theme === 'light'");
    assert_eq!(browser.value(background), light);
    assert_calm(&browser, &url(&path));
}

#[test]
fn everything_is_reached_by_keyboard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, Sample::read().render()).unwrap();
    let mut browser = Browser::start();
    browser.open(&url(&path), 1280, 900, true);

    // Tab comes by every kind of thing there is, and each has a name.
    let mut seen = std::collections::HashSet::new();
    for _ in 0..120 {
        browser.key("Tab", false);
        let here = browser.value(
            "(() => { const e = document.activeElement; return [e.tagName, e.id || e.dataset.sort || e.dataset.domain || \
             e.className || '', (e.getAttribute('aria-label') || e.textContent || e.placeholder || '').trim()]; })()",
        );
        assert_ne!(here[2], "", "{here} has no name");
        seen.insert(here[1].as_str().unwrap().to_owned());
    }
    for place in ["theme", "native-malloc", "leak", "rows", "compare"] {
        assert!(seen.contains(place), "{place} is not reached: {seen:?}");
    }

    // The chart: a cursor, and a span by shift.
    browser.value("document.querySelector('#account canvas').focus()");
    browser.key("Home", false);
    browser.wait("document.querySelector('#account output').textContent.startsWith('0:00: RSS ')");
    for _ in 0..5 {
        browser.key("ArrowRight", true);
    }
    browser.wait("!document.querySelector('.span').hidden");
    browser.key("Escape", false);
    browser.wait("document.querySelector('.span').hidden");

    // The flame graph: down the stack, zoom, back out.
    browser.value("document.querySelector('.flame canvas').focus()");
    for _ in 0..3 {
        browser.key("ArrowDown", false);
    }
    browser.wait("document.querySelector('.info').textContent.startsWith('thread_native_entry')");
    browser.key("Enter", false);
    browser.wait("document.querySelectorAll('.path button').length > 1");
    browser.key("Escape", false);
    browser.wait("document.querySelectorAll('.path button').length === 0");

    // The sites: the second one's stack.
    browser.value("document.querySelector('.rows').focus()");
    browser.key("Home", false);
    browser.key("ArrowDown", false);
    browser.wait("document.querySelector('.chosen h3').textContent === 'ChunkPool::allocate'");
    assert_calm(&browser, &url(&path));
}

#[test]
fn a_phone_sees_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, Sample::read().render()).unwrap();
    let mut browser = Browser::start();
    for dark in [false, true] {
        browser.open(&url(&path), 390, 844, dark);
        assert_eq!(browser.value("document.documentElement.scrollWidth"), json!(390), "nothing sticks out");
        browser.click("#account [data-domain=java-heap]");
        browser.wait("document.querySelector('.detail').textContent.startsWith('java-heap')");
        // Text stands out from its ground: what WCAG asks of small text.
        let contrast = browser.value(
            "(() => { const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; }; \
             const ground = light(getComputedStyle(document.querySelector('section')).backgroundColor); \
             return ['.summary', '.muted', '.lead', '.badge', '.place', '.grower'].map(s => { const e = document.querySelector(s); const own = getComputedStyle(e); \
             const under = own.backgroundColor === 'rgba(0, 0, 0, 0)' ? ground : light(own.backgroundColor); const [a, b] = [light(own.color), under].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); }); })()",
        );
        for value in contrast.as_array().unwrap() {
            assert!(value.as_f64().unwrap() >= 4.5, "{contrast}");
        }
    }
    assert_calm(&browser, &url(&path));
}

#[test]
fn names_from_the_target_stay_text() {
    let mut sample = Sample::read();
    let last = sample.snapshots.last_mut().unwrap();
    last.process.command = HOSTILE.to_owned();
    if let Some(jvm) = &mut last.jvm {
        jvm.main = HOSTILE.to_owned();
        jvm.flags.push((HOSTILE.to_owned(), HOSTILE.to_owned()));
    }
    last.threads[0].pool = HOSTILE.to_owned();
    last.files[0].path = HOSTILE.to_owned();
    last.domains[0].detail[0].name = HOSTILE.to_owned();
    sample.marks.push((sample.snapshots[3].time_ms, HOSTILE.to_owned()));
    let (_, profile) = sample.profiles.last_mut().unwrap();
    let hostile = Frame {
        name: HOSTILE.to_owned(),
        kind: FrameKind::Java,
        file: Some(HOSTILE.to_owned()),
        line: Some(1),
        module: Some(HOSTILE.to_owned()),
    };
    profile.frames.push(hostile);
    let stack = vec![profile.frames.len() as u32 - 1];
    profile
        .sites
        .insert(0, ProfileSite { stack, leak_bytes: 1 << 40, live_bytes: 1 << 40, ..ProfileSite::default() });
    profile.notes.push(HOSTILE.to_owned());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, sample.render()).unwrap();
    let mut browser = Browser::start();
    browser.open(&url(&path), 1280, 900, false);
    browser.click("[data-domain]");
    browser.click("[data-domain]");
    browser.wait("document.querySelector('.sites .body .c-site b').textContent.startsWith('</script>')");
    browser.click(".sites .body .row");
    browser.wait("document.querySelector('.chosen .stack code').textContent.includes('<img src=x')");
    let elements = "[document.querySelectorAll('img, svg').length, document.scripts.length]";
    assert_eq!(browser.value(elements), json!([0, 2]), "only the data and the page's own script");
    assert_eq!(browser.value("document.title.includes('stolen')"), json!(false));
    for place in ["#threads", "#files", "#environment", "#code .notes"] {
        let shown =
            browser.value(&format!("document.querySelector({place:?}).textContent.includes('<img src=x')"));
        assert_eq!(shown, json!(true), "{place} shows it as text");
    }
    assert_calm(&browser, &url(&path));

    // And if something did get in, the policy would not let it run or fetch; this test would see
    // that it was tried.
    browser.value("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))");
    browser.value("new Image().src = 'https://127.0.0.1:1/x.png'");
    browser.wait_seen("the violations", |seen| {
        seen.iter().filter(|text| text.contains("Content Security Policy")).count() == 2
    });
    assert_eq!(browser.value("typeof window.ran"), json!("undefined"));
}

#[test]
fn a_report_of_nothing_says_so() {
    let diagnosis = offheap_diagnose::diagnose(&offheap_diagnose::Evidence::of(&[]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, offheap_report::render(&Report::of(&diagnosis))).unwrap();
    let mut browser = Browser::start();
    browser.open(&url(&path), 1280, 900, false);
    assert_eq!(browser.value("document.querySelector('.badge').textContent"), json!("Inconclusive"));
    assert_eq!(browser.value("document.querySelector('.empty').hidden"), json!(false));
    assert_calm(&browser, &url(&path));
}

#[test]
fn the_live_view_follows() {
    let sample = Sample::read();
    let diagnosis = sample.diagnosis();
    let report = |count: usize| Report {
        snapshots: &sample.snapshots[..count],
        marks: &sample.marks,
        ..Report::of(&diagnosis)
    };
    let board = Board::new();
    board.put(0, "one", &report(30));
    let server = Server::start(0, Token::random().unwrap(), board.clone()).unwrap();
    let mut browser = Browser::start();
    browser.open(server.url(), 1280, 900, false);
    browser.wait("document.documentElement.dataset.shown === '\"0-1\"'");
    // What was chosen stays when new data comes.
    browser.click("[data-domain=java-heap]");
    browser.wait("document.querySelector('.detail').textContent.startsWith('java-heap')");
    board.put(0, "one", &report(60));
    browser.wait("document.documentElement.dataset.shown === '\"0-2\"'");
    browser.wait("document.querySelector('.detail').textContent.startsWith('java-heap')");
    board.put(1, "two", &Report { ended: Some("killed for memory"), ..report(90) });
    browser.wait("document.querySelectorAll('.live option').length === 2");
    browser.value("(() => { const s = document.querySelector('.live select'); s.value = '1'; s.dispatchEvent(new Event('change')); })()");
    browser.wait("document.querySelector('.state').textContent === 'ended: killed for memory'");
    assert_calm(&browser, server.url());
}
