//! The node's page in a headless Chromium against a real mesh, in which a relay is killed.

#[path = "common/processes.rs"]
mod processes;
#[path = "common/webdriver.rs"]
mod webdriver;

use processes::{Fleet, eventually, has};
use webdriver::{Browser, decoded};

/// Everyone in the tree: `[{peer, parent, loose}]`.
const TREE: &str = "return [...document.querySelectorAll('.node:not(.gone)')].map((node) => ({
    peer: node.dataset.peer, parent: node.dataset.parent, loose: node.classList.contains('loose') }))";
const EVENTS: &str = "return document.getElementById('events').textContent";

/// Two seconds of a fragmented MP4, in base 64.
const RECORD: &str = "return new Promise((done) => {
    const canvas = document.createElement('canvas');
    const pen = canvas.getContext('2d');
    let count = 0;
    const drawing = setInterval(() => pen.fillText(`${count += 1}`, 9 * (count % 30), 9 * (count % 17)), 40);
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/mp4;codecs=vp9' });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
        clearInterval(drawing);
        const reader = new FileReader();
        reader.onload = () => done(reader.result.split(',')[1]);
        reader.readAsDataURL(new Blob(parts));
    };
    recorder.start(500);
    setTimeout(() => recorder.stop(), 2000);
})";

#[test]
fn page_shows_the_tree_and_how_it_repairs() {
    if !has("chromedriver") || !has("chromium") {
        return;
    }
    let mut fleet = Fleet::start(12);
    let mut browser = Browser::open(1280, 1000);
    browser.go(&fleet.page());
    let tree = |browser: &mut Browser| browser.run(TREE).as_array().expect("a list").clone();
    eventually("all peers in the tree", || (tree(&mut browser).len() == 12).then_some(()));
    eventually("all peers in the table", || {
        (browser.run("return document.querySelectorAll('#peers tr').length") == 11).then_some(())
    });
    eventually("a rate", || {
        let rates = browser.run("return document.querySelector('.chart .now').textContent");
        (rates.as_str()?.ends_with("B/s") && rates != "0 B/s").then_some(())
    });
    browser.shoot("page-before");

    let (relay, label) = fleet.kill_relay();
    eventually("the relay gone from the tree", || {
        tree(&mut browser).iter().all(|node| node["peer"] != relay.as_str()).then_some(())
    });
    browser.shoot("page-during");
    eventually("all others attached elsewhere", || {
        let nodes = tree(&mut browser);
        let well = |node: &serde_json::Value| node["parent"] != relay.as_str() && node["loose"] == false;
        (nodes.len() == 11 && nodes.iter().all(well)).then_some(())
    });
    eventually("the loss in the feed", || {
        browser.run(EVENTS).as_str()?.contains(&format!("{label} is gone")).then_some(())
    });
    browser.shoot("page-after");

    // By keyboard: from the origin to its first child.
    let keys = "const tree = document.getElementById('svg'); tree.focus();
        for (const key of ['Home', 'ArrowDown']) tree.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        return document.getElementById('picked').textContent";
    let picked = browser.run(keys);
    assert!(picked.as_str().is_some_and(|text| text.contains("depth 1") && text.contains("n0 → ")), "{picked}");

    // A track of lines is text; it is watched as such.
    browser.run("document.getElementById('watch').click()");
    eventually("lines of the track", || {
        let screen = browser.run("return document.getElementById('screen').textContent");
        screen.as_str()?.contains("one line of the stream").then_some(())
    });
    browser.run("document.getElementById('player-close').click()");

    let video = browser.run(RECORD);
    fleet.publish("video", &decoded(video.as_str().expect("base 64")));
    eventually("the video among the tracks", || {
        browser.run("return Boolean(document.querySelector('[data-track=video]'))").as_bool()?.then_some(())
    });
    browser.run("document.querySelector('[data-track=video]').click()");
    eventually("the video can be watched", || {
        browser
            .run("const watch = document.getElementById('watch'); watch.click(); return !watch.disabled")
            .as_bool()?
            .then_some(())
    });
    eventually("the video plays", || {
        browser.run("return (document.querySelector('video')?.currentTime ?? 0) > 0.5").as_bool()?.then_some(())
    });
    browser.run("document.getElementById('player-close').click()");

    browser.size(390, 1500);
    let overflow = browser.run("return document.documentElement.scrollWidth");
    assert_eq!(overflow, 390, "nothing sticks out on a telephone");
    browser.shoot("page-narrow");
    let errors = browser.errors();
    assert!(errors.is_empty(), "{errors:?}");
}
