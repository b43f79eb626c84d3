//! Configuration files: where they are, what they may hold.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
};

use banyan_gossip::MeshName;
use toml::{Table, Value};

use super::settings::{Kind, Layer, Setting, settings};
use crate::cli::exit::{Exit, Failure, Outcome, one_line};

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The file to read: the one that is named, else the first that is there.
pub(super) fn find(named: Option<&Path>, mesh: &MeshName) -> Option<PathBuf> {
    let usual = || [own(mesh), Some(format!("/etc/banyan/{mesh}.toml").into())].into_iter().flatten();
    named.map(Path::to_owned).or_else(|| usual().find(|path| path.exists()))
}

/// Where a user's file for a mesh is: `$XDG_CONFIG_HOME/banyan/MESH.toml`, else `~/.config/banyan/MESH.toml`.
pub(super) fn own(mesh: &MeshName) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let config = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(absolute);
    let config = config.or_else(|| env::home_dir().filter(absolute).map(|home| home.join(".config")))?;
    Some(config.join("banyan").join(format!("{mesh}.toml")))
}

/// Reads a file. Every key and value in it is one that `banyan run` takes.
pub(super) fn read(path: &Path) -> Outcome<Layer> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Usage,
        };
        let message = format!("cannot read the configuration file {}: {error}", path.display());
        Failure::new(exit, message, "write one with `banyan config init`")
    })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("the configuration file {} has more than 65536 bytes", path.display());
        return Err(Failure::usage(message, "is it one? see `banyan config init`"));
    }
    parse(&text, &path.display().to_string())
}

/// Reads the text of a file called `name`.
pub(super) fn parse(text: &str, name: &str) -> Outcome<Layer> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        Failure::usage(
            format!("{name}, line {line}: {}", one_line(error.message())),
            "it is a TOML file of KEY = VALUE",
        )
    })?;
    let settings = settings();
    let mut layer = Layer::new();
    for (key, value) in &table {
        let setting =
            settings.iter().find(|setting| setting.key == *key).ok_or_else(|| unknown(name, key, &settings))?;
        let values = values(setting, value).ok_or_else(|| {
            let wanted = match setting.kind {
                Kind::Switch => "true or false",
                Kind::One => "one value",
                Kind::Many => "a list of values",
            };
            Failure::usage(format!("{name}: {key} takes {wanted}"), format!("it is: {}", setting.help))
        })?;
        setting.check(&values, &format!("{name}: {key}"))?;
        layer.insert(key.clone(), values);
    }
    Ok(layer)
}

/// `None` if it is of another kind.
fn values(setting: &Setting, value: &Value) -> Option<Vec<String>> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    match (setting.kind, value) {
        (Kind::Switch, Value::Boolean(on)) => Some(vec![on.to_string()]),
        (Kind::Many, Value::Array(items)) => items.iter().map(scalar).collect(),
        (Kind::One | Kind::Many, value) => Some(vec![scalar(value)?]),
        (Kind::Switch, _) => None,
    }
}

fn unknown(name: &str, key: &str, settings: &[Setting]) -> Failure {
    let key: String = key.chars().take(64).collect();
    let near = settings.iter().map(|setting| (distance(&key, &setting.key), &setting.key)).min();
    let hint = match near {
        Some((distance, near)) if distance <= 3 => format!("did you mean {near}?"),
        _ => "see what there is with `banyan config init -`".to_owned(),
    };
    Failure::usage(format!("{name}: unknown key {key:?}"), hint)
}

/// How many letters have to be put in, taken out or replaced to get from one word to another.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], index + 1);
        for at in 0..to.len() {
            let replaced = corner + usize::from(letter != to[at]);
            corner = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(corner + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> (String, String) {
        let view = parse(text, "x.toml").expect_err("it is wrong").view;
        (view.message, view.hint.unwrap_or_default())
    }

    #[test]
    fn files_hold_values_of_their_kinds() {
        let text = "capacity = 4\nno-mdns = true\nbootstrap = [\"a:1\", \"b:2\"]\nlisten = \"/ip4/1.2.3.4/tcp/1\"\ntag = [\"a=b\"]";
        let layer = parse(text, "x.toml").expect("it is valid");
        assert_eq!(layer["capacity"], ["4"]);
        assert_eq!(layer["no-mdns"], ["true"]);
        assert_eq!(layer["bootstrap"], ["a:1", "b:2"]);
        assert_eq!(layer["listen"], ["/ip4/1.2.3.4/tcp/1"]);
        assert_eq!(parse("", "x.toml").expect("nothing is fine").len(), 0);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let (message, hint) = fails("capcity = 4");
        assert_eq!((message.as_str(), hint.as_str()), ("x.toml: unknown key \"capcity\"", "did you mean capacity?"));
        assert_eq!(fails("max_links = 4").1, "did you mean max-links?");
        assert!(fails("something-else = 4").1.contains("config init"));
        assert!(fails("capacity = \"many\"").0.starts_with("x.toml: capacity: invalid value 'many'"));
        assert!(fails("capacity = [4]").0.contains("capacity takes one value"));
        assert!(fails("no-mdns = 1").0.contains("true or false"));
        assert!(fails("\n\ncapacity = = 4").0.starts_with("x.toml, line 3: "));
        assert!(fails("exit-with-stdin = true").0.contains("unknown key"));
        assert!(fails("[capacity]\nn = 1").0.contains("takes one value"));
    }

    #[test]
    fn distance_is_that_of_levenshtein() {
        assert_eq!([distance("", "abc"), distance("kitten", "sitting"), distance("same", "same")], [3, 3, 0]);
    }
}
