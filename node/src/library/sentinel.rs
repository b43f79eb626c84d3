//! The sentinel: the file that makes a folder a package, and says its title and version (D4).

use super::path::PackagePath;

/// What the sentinel is called unless the library says otherwise.
pub const SENTINEL: &str = "version.ini";
/// Largest sentinel that is read, in bytes.
pub const SENTINEL_BYTES_MAX: usize = 64 * 1024;
/// Longest title, in bytes.
pub const TITLE_BYTES_MAX: usize = 256;
/// Longest version, in bytes.
pub const VERSION_BYTES_MAX: usize = 128;

/// What a package is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Title {
    /// Its name, for people.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A title that is none; whoever wrote the sentinel is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// The sentinel is too large.
    #[error("the sentinel has more than 65536 bytes")]
    Large,
    /// The sentinel is no text.
    #[error("the sentinel is not UTF-8")]
    Encoding,
    /// The name or version is missing, too long or has control characters.
    #[error("{0} is empty, too long, or has control characters")]
    Field(&'static str),
    /// What should name a sentinel is no name of a file.
    #[error("the sentinel {0:?} is not the name of a file in the package's folder")]
    Name(String),
}

impl Title {
    /// Checks a name and a version.
    ///
    /// # Errors
    /// [`TitleError::Field`] with the one that is not valid.
    pub fn new(name: &str, version: &str) -> Result<Self, TitleError> {
        let valid = |text: &str, max| !text.is_empty() && text.len() <= max && !text.contains(char::is_control);
        if !valid(name, TITLE_BYTES_MAX) {
            return Err(TitleError::Field("the name"));
        }
        if !valid(version, VERSION_BYTES_MAX) {
            return Err(TitleError::Field("the version"));
        }
        Ok(Self { name: name.to_owned(), version: version.to_owned() })
    }

    /// Reads a sentinel: lines `name=…` and `version=…`, the first of each; sections, comments and other keys
    /// are left out. A name that is missing is that of the package's folder.
    ///
    /// # Errors
    /// [`TitleError`] if there is no valid title in it.
    pub fn read(sentinel: &[u8], folder: &str) -> Result<Self, TitleError> {
        if sentinel.len() > SENTINEL_BYTES_MAX {
            return Err(TitleError::Large);
        }
        let text = std::str::from_utf8(sentinel).map_err(|_| TitleError::Encoding)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let field = |key: &str| {
            text.lines().filter_map(|line| line.split_once('=')).find_map(|(found, value)| {
                found.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"'))
            })
        };
        Self::new(field("name").unwrap_or(folder), field("version").unwrap_or_default())
    }
}

/// Checks the name of a sentinel: one file in the package's folder.
///
/// # Errors
/// [`TitleError::Name`] if it is none.
pub fn check_name(name: &str) -> Result<PackagePath, TitleError> {
    let path = PackagePath::new(name).ok().filter(|path| path.parts().count() == 1 && !path.is_reserved());
    path.ok_or_else(|| TitleError::Name(name.chars().take(160).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn title_and_version_come_from_the_sentinel_d4() {
        let read = |text: &str| Title::read(text.as_bytes(), "folder").map(|title| (title.name, title.version));
        let title = |name: &str, version: &str| Ok((name.to_owned(), version.to_owned()));
        assert_eq!(read("name=Quake\nversion=1.32"), title("Quake", "1.32"));
        assert_eq!(read("\u{feff}[package]\r\n; name=no\r\n Version = \"2\" \r\nname = A=B\r\n"), title("A=B", "2"));
        assert_eq!(read("version=2026-11-21\nversion=3"), title("folder", "2026-11-21"));
        assert_eq!(read("name=x"), Err(TitleError::Field("the version")));
        assert_eq!(read("name=\nversion=1"), Err(TitleError::Field("the name")));
        assert_eq!(read(&format!("name={}\nversion=1", "x".repeat(257))), Err(TitleError::Field("the name")));
        assert_eq!(read(&"\n".repeat(SENTINEL_BYTES_MAX + 1)), Err(TitleError::Large));
        assert_eq!(Title::read(b"version=\xff", "folder"), Err(TitleError::Encoding));
    }

    #[test]
    fn a_sentinel_is_a_file_at_the_root() {
        assert!(check_name(SENTINEL).is_ok());
        assert!(check_name("a/b").is_err() && check_name("..").is_err() && check_name("local").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_title_or_an_error(bytes in any::<Vec<u8>>()) {
            let _ = Title::read(&bytes, "folder");
        }
    }
}
