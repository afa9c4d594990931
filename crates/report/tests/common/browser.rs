//! A headless Chromium, spoken to over its own pipe (the DevTools protocol, messages of JSON ended
//! by a zero byte).
//!
//! Nothing here decides by time: what is waited for is a condition, and the two minutes after which
//! a wait gives up only bound a test that has failed.

#![allow(dead_code)] // Each test uses its part.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One browser at a time: each has half a dozen processes, and the tests' machine may have two
/// cores.
static ONE: Mutex<()> = Mutex::new(());

const PATIENCE: Duration = Duration::from_secs(120);

pub struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    id: u64,
    events: Vec<Value>,
    _profile: tempfile::TempDir,
    _one: MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts Chromium with one empty page.
    pub fn start() -> Browser {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::tempdir().unwrap();
        // The shell puts our two pipes where Chromium wants them: it reads file 3 and writes file
        // 4. Root may not use its sandbox, and /dev/shm is small in containers.
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --disable-background-networking --disable-component-update --hide-scrollbars \
                      --remote-debugging-pipe --user-data-dir=\"$1\" about:blank 3<&0 4>&1 1>&2";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Browser {
            child,
            input,
            output,
            session: None,
            id: 0,
            events: Vec::new(),
            _profile: profile,
            _one: one,
        };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached =
            browser.call("Target.attachToTarget", json!({"targetId": page["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.id += 1;
        let mut message = json!({"id": self.id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let sent = self.input.write_all(format!("{message}\0").as_bytes()).and_then(|()| self.input.flush());
        sent.expect("chromium is installed (apt-get install chromium) and runs");
        loop {
            let mut bytes = Vec::new();
            self.output.read_until(0, &mut bytes).unwrap();
            assert!(
                !bytes.is_empty(),
                "chromium is not installed (apt-get install chromium) or ended at {method}"
            );
            let answer: Value = serde_json::from_slice(bytes.strip_suffix(b"\0").unwrap_or(&bytes)).unwrap();
            if answer["id"] == json!(self.id) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// The value of a JavaScript expression; a promise's, once it has one.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until a JavaScript expression is true.
    pub fn wait(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(expression) != json!(true) {
            if Instant::now() > end {
                let text = self.value("document.body.innerText.slice(0, 2000)");
                panic!("never came true: {expression}\nproblems: {:?}\n{text}", self.problems());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens `url` at a size and waits until the page says that it is there.
    pub fn open(&mut self, url: &str, width: u32, height: u32, dark: bool) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}
        ]});
        self.call("Emulation.setEmulatedMedia", features);
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait("Boolean(document.documentElement && document.documentElement.dataset.ready)");
    }

    /// Clicks into the middle of the element that `selector` names.
    pub fn click(&mut self, selector: &str) {
        self.click_at(selector, 0.5, 0.5);
    }

    /// Clicks into the element at a share of its width and height.
    pub fn click_at(&mut self, selector: &str, x: f64, y: f64) {
        let (x, y) = self.place(selector, x, y);
        for kind in ["mousePressed", "mouseReleased"] {
            self.mouse(kind, x, y);
        }
    }

    /// Presses at one share of an element's width and lets go at another.
    pub fn drag(&mut self, selector: &str, from: f64, to: f64) {
        let (x, y) = self.place(selector, from, 0.5);
        self.mouse("mousePressed", x, y);
        let (x, y) = self.place(selector, to, 0.5);
        self.mouse("mouseMoved", x, y);
        self.mouse("mouseReleased", x, y);
    }

    fn place(&mut self, selector: &str, x: f64, y: f64) -> (f64, f64) {
        let at = self.value(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'center' }}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width * {x}, r.y + r.height * {y}]; }})()"
        ));
        (at[0].as_f64().unwrap(), at[1].as_f64().unwrap())
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let held = u8::from(kind == "mouseMoved");
        let event = json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": held, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Presses a key by its name (`"Tab"`, `"ArrowDown"`, `"Enter"`).
    pub fn key(&mut self, key: &str, shift: bool) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "Home" => 36,
            "End" => 35,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let modifiers = if shift { 8 } else { 0 };
        let mut event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers});
        if key == "Enter" {
            event["text"] = json!("\r");
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", event);
    }

    /// The page as PNG in base 64: a rectangle of it, `[x, y, width, height]`.
    pub fn picture(&mut self, [x, y, width, height]: [f64; 4]) -> String {
        let clip = json!({"x": x, "y": y, "width": width, "height": height, "scale": 1});
        let answer = self.call(
            "Page.captureScreenshot",
            json!({"format": "png", "clip": clip, "captureBeyondViewport": true}),
        );
        answer["data"].as_str().unwrap_or_default().to_owned()
    }

    /// Errors and warnings of the page, violations of its policy, and requests that leave it.
    pub fn problems(&self) -> Vec<String> {
        let problem = |event: &Value| {
            let parameters = &event["params"];
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" | "Log.entryAdded" => Some(parameters.to_string()),
                "Runtime.consoleAPICalled" => Some(parameters.to_string()),
                _ => None,
            }
        };
        self.events.iter().filter_map(problem).collect()
    }

    /// Waits until the problems so far are as wanted.
    pub fn wait_seen(&mut self, what: &str, wanted: impl Fn(&[String]) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted(&self.problems()) {
            assert!(Instant::now() < end, "never seen: {what}: {:?}", self.problems());
            // An answer brings the events before it.
            self.value("0");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything the page asked for, its own document included.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        self.id += 1;
        let message = json!({"id": self.id, "method": "Browser.close"});
        // It ends its own children; whoever is only killed leaves them behind.
        if self.input.write_all(format!("{message}\0").as_bytes()).is_ok() && self.input.flush().is_ok() {
            let end = Instant::now() + Duration::from_secs(20);
            while Instant::now() < end {
                if let Ok(Some(_)) = self.child.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
