//! A headless Chromium, driven through chromedriver.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

/// Time for one command.
const LIMIT: Duration = Duration::from_secs(40);

/// A browser with one window; closed when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn open(width: u32, height: u32) -> Self {
        let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().expect("it runs");
        let lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok());
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut browser =
            Self { driver, port: port.expect("it says its port"), session: String::new(), _profile: profile };
        let folder = browser._profile.path().display().to_string();
        let options = json!({ "args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", format!("--user-data-dir={folder}"),
        ] });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let session = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("a session"));
        browser.size(width, height);
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("chromedriver listens");
        stream.set_read_timeout(Some(LIMIT)).expect("it is not zero");
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("it is taken");
        let mut answer = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            answer.read_line(&mut line).expect("it is answered");
            line.trim_end().to_ascii_lowercase()
        };
        let status = line();
        let head: Vec<String> = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty())).collect();
        let length = head.iter().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.expect("a length")];
        answer.read_exact(&mut body).expect("it is answered");
        let mut value: Value = serde_json::from_slice(&body).expect("it is JSON");
        assert!(status.contains(" 200 "), "{path}: {value}");
        value["value"].take()
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("{}{path}", self.session), body)
    }

    pub(crate) fn go(&mut self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// Runs a script and answers what it returns.
    pub(crate) fn run(&mut self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size });
        self.command("POST", "/goog/cdp/execute", &command);
    }

    /// Writes what is seen to a file among those of the tests.
    pub(crate) fn shoot(&mut self, name: &str) {
        let image = self.command("GET", "/screenshot", &Value::Null);
        let image = decoded(image.as_str().expect("base 64"));
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(path, image).expect("it is writable");
    }

    /// What went wrong in the page, but for answers that say that something is not there.
    pub(crate) fn errors(&mut self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let messages = log.as_array().expect("a list").iter().filter_map(|line| line["message"].as_str());
        messages.filter(|line| !line.contains("the server responded with a status of 4")).map(str::to_owned).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.command("DELETE", "", &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Undoes base 64.
pub(crate) fn decoded(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: &u8| alphabet.iter().position(|known| known == byte);
    let digits: Vec<usize> = text.as_bytes().iter().filter_map(digit).collect();
    let group = |group: &[usize]| {
        let bits = group.iter().enumerate().fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        [bits >> 16, bits >> 8, bits]
            .map(|byte| (byte & 255) as u8)
            .into_iter()
            .take(group.len() - 1)
            .collect::<Vec<u8>>()
    };
    digits.chunks(4).flat_map(group).collect()
}
