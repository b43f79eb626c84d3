//! The JSON schemas of everything that a node shows.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    ErrorView, EventView, Health, OffloadPeer, OffloadView, Peer, Peers, Published, Status, Track, Tracks, TreeNode,
    TreeView, View,
    checkup::{Checkup, Finding, Ping, Waited},
    control::{Capacity, Config, Joined, Left, Log, Setting, Tags, Told, Version},
    keys::{InviteView, KeysView},
    library::{ExplainView, JobView, JobsView, LibraryView, PackageView, TitleView},
    log::LogLines,
    repairs::{Repair, Repairs},
    reports::{BenchReport, DemoReport},
    why::{PeerDetail, Why},
};

/// One shape under its schema name.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// `banyan.<thing>/v1`.
    pub name: &'static str,
    data: fn(&mut SchemaGenerator) -> Schema,
}

/// Every shape: first the views, then the items that `--format jsonl` prints of them.
pub const ALL: &[Named] = &[
    view::<Status>(),
    view::<Peers>(),
    view::<Tracks>(),
    view::<TreeView>(),
    view::<OffloadView>(),
    view::<EventView>(),
    view::<Published>(),
    view::<ErrorView>(),
    view::<Capacity>(),
    view::<Config>(),
    view::<Joined>(),
    view::<Left>(),
    view::<Log>(),
    view::<Tags>(),
    view::<Told>(),
    view::<Version>(),
    view::<LibraryView>(),
    view::<TitleView>(),
    view::<PackageView>(),
    view::<JobsView>(),
    view::<JobView>(),
    view::<ExplainView>(),
    view::<Ping>(),
    view::<Health>(),
    view::<Waited>(),
    view::<Checkup>(),
    view::<LogLines>(),
    view::<KeysView>(),
    view::<InviteView>(),
    view::<Repairs>(),
    view::<Why>(),
    view::<PeerDetail>(),
    view::<DemoReport>(),
    view::<BenchReport>(),
    item::<Peer>("banyan.peer/v1"),
    item::<Track>("banyan.track/v1"),
    item::<TreeNode>("banyan.tree_node/v1"),
    item::<OffloadPeer>("banyan.offload_peer/v1"),
    item::<Setting>("banyan.setting/v1"),
    item::<Repair>("banyan.repair/v1"),
    item::<Finding>("banyan.finding/v1"),
];

const fn view<T: View + JsonSchema>() -> Named {
    item::<T>(T::SCHEMA)
}

const fn item<T: JsonSchema>(name: &'static str) -> Named {
    Named { name, data: |generator| generator.subschema_for::<T>() }
}

impl Named {
    /// The schema of the whole document, which stands alone.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = self.enveloped(&mut generator);
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["$defs"] = Value::Object(generator.take_definitions(true));
        schema
    }

    /// The schema of `{"schema":…,"data":…}`; what it refers to is left with the generator.
    pub fn enveloped(&self, generator: &mut SchemaGenerator) -> Value {
        json!({
            "title": self.name,
            "type": "object",
            "properties": { "schema": { "const": self.name }, "data": (self.data)(generator) },
            "required": ["schema", "data"],
        })
    }
}

/// The schema of a type; what it refers to is left with the generator.
pub fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// A generator whose definitions lie where OpenAPI wants them.
#[must_use]
pub fn openapi_generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator()
}

/// What schemas refer to.
pub fn definitions(generator: &mut SchemaGenerator) -> Map<String, Value> {
    generator.take_definitions(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_of_one_form() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|named| named.name).collect();
        assert_eq!(names.len(), ALL.len());
        for name in names {
            let thing = name.strip_prefix("banyan.").and_then(|rest| rest.strip_suffix("/v1")).unwrap_or_default();
            assert!(!thing.is_empty() && thing.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        }
    }

    #[test]
    fn documents_stand_alone() {
        for named in ALL {
            let text = named.document().to_string();
            for reference in text.split("\"$ref\":\"#/").skip(1) {
                let path = reference.split('"').next().expect("it ends");
                assert!(named.document().pointer(&format!("/{path}")).is_some(), "{}: {path}", named.name);
            }
        }
    }
}
