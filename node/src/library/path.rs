//! Names of files in a package: relative, and the same file on every system that can hold them.

use std::{cmp::Ordering, fmt, str::FromStr};

use icu_normalizer::DecomposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Longest part of a path, in bytes.
pub const PART_BYTES_MAX: usize = 255;
/// First parts that no path of a package has: what a node keeps beside a package's files goes there. They are
/// compared without case, and whatever begins with [`OWN_PREFIX`] is the node's, too.
pub const RESERVED_ROOTS: [&str; 1] = ["local"];
/// What the names of a node's own files and folders begin with.
pub const OWN_PREFIX: &str = ".banyan";

/// Device names of Windows, which means them whatever the extension.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// A valid path of a file in a package: parts with `/` between them, below the package's folder whoever reads
/// it. Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackagePath(Box<str>);

/// A path that no package may have; whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?} {rule}")]
pub struct InvalidPath {
    /// The path as given, cut to 160 characters.
    pub path: String,
    /// What is wrong with it.
    pub rule: PathRule,
}

/// Rules of [`PackagePath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathRule {
    /// It has more than [`PATH_BYTES_MAX`] bytes.
    #[error("is longer than 4096 bytes")]
    Long,
    /// One part has more than [`PART_BYTES_MAX`] bytes.
    #[error("has a part longer than 255 bytes")]
    PartLong,
    /// It is empty, absolute, ends with a slash or has two in a row.
    #[error("is absolute or has an empty part")]
    Empty,
    /// A part is `.` or `..`.
    #[error("has a part that is . or ..")]
    Dots,
    /// It holds a control character.
    #[error("has a control character")]
    Control,
    /// It holds a backslash, or a part begins like a drive, `C:`.
    #[error("has a backslash or a drive")]
    Windows,
    /// A part is a device's name on Windows.
    #[error("has a part that is a device on Windows")]
    Device,
    /// A part ends with a dot or a space, which Windows leaves out.
    #[error("has a part that ends with a dot or a space")]
    Trailing,
}

impl PackagePath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`InvalidPath`] with the rule that the path breaks.
    pub fn new(path: &str) -> Result<Self, InvalidPath> {
        match check(path) {
            Ok(()) => Ok(Self(path.into())),
            Err(rule) => Err(InvalidPath { path: path.chars().take(160).collect(), rule }),
        }
    }

    /// The path.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts, one or more: folders, and the file's name at the end.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether the first part belongs to the node and not to the package: [`RESERVED_ROOTS`], [`OWN_PREFIX`].
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        let root = fold(self.parts().next().expect("a path has a part"));
        RESERVED_ROOTS.contains(&root.as_str()) || root.starts_with(OWN_PREFIX)
    }
}

fn check(path: &str) -> Result<(), PathRule> {
    if path.len() > PATH_BYTES_MAX {
        return Err(PathRule::Long);
    }
    if path.contains(char::is_control) {
        return Err(PathRule::Control);
    }
    if path.contains('\\') {
        return Err(PathRule::Windows);
    }
    path.split('/').try_for_each(check_part)
}

fn check_part(part: &str) -> Result<(), PathRule> {
    match part.as_bytes() {
        [] => Err(PathRule::Empty),
        b"." | b".." => Err(PathRule::Dots),
        part if part.len() > PART_BYTES_MAX => Err(PathRule::PartLong),
        [.., b'.' | b' '] => Err(PathRule::Trailing),
        [drive, b':', ..] if drive.is_ascii_alphabetic() => Err(PathRule::Windows),
        _ if is_device(part) => Err(PathRule::Device),
        _ => Ok(()),
    }
}

fn is_device(part: &str) -> bool {
    let stem = part.split(['.', ':']).next().unwrap_or_default().trim_end_matches(' ');
    if DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device)) {
        return true;
    }
    let mut chars = stem.chars();
    let number = chars.next_back();
    let port = chars.as_str();
    (port.eq_ignore_ascii_case("COM") || port.eq_ignore_ascii_case("LPT"))
        && matches!(number, Some('1'..='9' | '¹' | '²' | '³'))
}

/// Two paths that some systems cannot hold beside each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "paths {0} and {1} are one on systems that ignore case or how accents are written, or one is a folder of the other"
)]
pub struct Collision(pub PackagePath, pub PackagePath);

/// Checks that these paths of files can lie in one folder: none twice, none a folder of another, and no two
/// parts that differ in case alone or in how a character is composed (NFC, NFD), neither of files nor of folders.
///
/// # Errors
/// [`Collision`] with the first two that cannot.
pub fn check_collisions<'a>(paths: impl IntoIterator<Item = &'a PackagePath>) -> Result<(), Collision> {
    let mut folded: Vec<(String, &PackagePath)> = paths.into_iter().map(|path| (fold(path.as_str()), path)).collect();
    // Ordered by their parts, whatever lies in one folder is in one run, and a file is before what lies below it.
    folded.sort_unstable_by(|(a, _), (b, _)| by_parts(a, b));
    for pair in folded.windows(2) {
        let [(a, path_a), (b, path_b)] = pair else { unreachable!("windows of two") };
        let mut parts = a.split('/').zip(b.split('/')).zip(path_a.parts().zip(path_b.parts()));
        let alike = parts.by_ref().take_while(|((a, b), _)| a == b);
        let mut common = 0;
        for (_, (a, b)) in alike {
            common += 1;
            if a != b {
                return Err(Collision((*path_a).clone(), (*path_b).clone()));
            }
        }
        if common == path_a.parts().count() {
            return Err(Collision((*path_a).clone(), (*path_b).clone()));
        }
    }
    Ok(())
}

fn by_parts(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

/// Without case and composition, as far as systems ignore them.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let normalizer = DecomposingNormalizerBorrowed::new_nfd();
    let folded: String =
        normalizer.normalize(text).chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    // Cases may come apart differently.
    normalizer.normalize(&folded).into_owned()
}

impl fmt::Display for PackagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PackagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl FromStr for PackagePath {
    type Err = InvalidPath;

    fn from_str(path: &str) -> Result<Self, InvalidPath> {
        Self::new(path)
    }
}

impl TryFrom<String> for PackagePath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, InvalidPath> {
        Self::new(&path)
    }
}

impl From<PackagePath> for String {
    fn from(path: PackagePath) -> Self {
        path.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(path: &str) -> Option<PathRule> {
        PackagePath::new(path).err().map(|invalid| invalid.rule)
    }

    #[test]
    fn a_path_stays_in_its_folder_on_every_system_d6() {
        use PathRule::*;
        for (path, expected) in [
            ("", Empty),
            ("/etc/passwd", Empty),
            ("a//b", Empty),
            ("a/", Empty),
            (".", Dots),
            ("..", Dots),
            ("a/../b", Dots),
            ("a/./b", Dots),
            ("a\0b", Control),
            ("a\nb", Control),
            ("a\u{85}b", Control),
            ("a\\b", Windows),
            ("C:x", Windows),
            ("a/c:", Windows),
            ("CON", Device),
            ("a/nul.txt", Device),
            ("aux .txt", Device),
            ("com1", Device),
            ("LPT9.x/y", Device),
            ("com³", Device),
            ("conin$", Device),
            ("a.", Trailing),
            ("a /b", Trailing),
            ("...", Trailing),
        ] {
            assert_eq!(rule(path), Some(expected), "{path:?}");
        }
        for path in ["a", "a/b.c", ".hidden", "..a", "a..b", "com0", "com", "console", "com10", "Foo::Bar.3", "ß/é 1"]
        {
            assert_eq!(rule(path), None, "{path:?}");
        }
    }

    #[test]
    fn lengths_are_bounded_from_both_sides() {
        assert_eq!(rule(&"x".repeat(255)), None);
        assert_eq!(rule(&"x".repeat(256)), Some(PathRule::PartLong));
        let longest = "x".repeat(255) + &format!("/{}", "y".repeat(255)).repeat(15);
        assert_eq!(longest.len(), 4095);
        assert_eq!(rule(&longest), None);
        assert_eq!(rule(&(longest + "/y")), Some(PathRule::Long));
    }

    #[test]
    fn a_node_keeps_its_own_names() {
        for (path, reserved) in [("local/x", true), ("Local", true), (".banyan-stage/x", true), ("a/local", false)] {
            assert_eq!(PackagePath::new(path).expect("valid").is_reserved(), reserved, "{path}");
        }
    }

    fn collide(paths: &[&str]) -> bool {
        let paths: Vec<_> = paths.iter().map(|path| PackagePath::new(path).expect("valid")).collect();
        check_collisions(&paths).is_err()
    }

    #[test]
    fn paths_that_are_one_without_case_collide() {
        assert!(collide(&["a", "b", "A"]));
        assert!(collide(&["a", "a"]));
        assert!(collide(&["dir/a", "other", "DIR/b"]));
        assert!(collide(&["x", "x/y"]));
        assert!(collide(&["x", "x-y", "X/y"]));
        assert!(collide(&["straße", "STRASSE"]));
        // Composed and decomposed, as macOS and others write it.
        assert!(collide(&["caf\u{e9}", "cafe\u{301}"]) && collide(&["\u{c9}/a", "e\u{301}/b"]));
        assert!(collide(&["\u{ac00}", "\u{1100}\u{1161}"]) && !collide(&["caf\u{e9}", "cafe"]));
        assert!(!collide(&["x", "x-y", "xy", "y/x", "y/y/x", "z/X"]));
        assert!(!collide(&[]));
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_an_error(path in any::<String>()) {
            if let Ok(valid) = PackagePath::new(&path) {
                prop_assert_eq!(valid.as_str(), path.as_str());
                prop_assert!(valid.parts().all(|part| !part.is_empty() && part != ".."));
            }
        }

        /// The slow way: every folder and every file has one spelling, and none is both.
        #[test]
        fn collisions_are_those_of_all_pairs(paths in prop::collection::vec("[aAb](/[aAb]){0,2}", 0..6)) {
            let mut seen = std::collections::BTreeMap::new();
            let mut expected = false;
            for path in &paths {
                let ends: Vec<_> = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).collect();
                for end in ends {
                    let (prefix, file) = (&path[..end], end == path.len());
                    let before = seen.insert(prefix.to_lowercase(), (prefix, file));
                    expected |= before.is_some_and(|before| file || before != (prefix, false));
                }
            }
            prop_assert_eq!(collide(&paths.iter().map(String::as_str).collect::<Vec<_>>()), expected);
        }
    }
}
