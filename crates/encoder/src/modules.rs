//! `modules.json`, and what a `Router` in it stands for: which modules make vectors of queries and of documents, and
//! where they lie.
//!
//! Apart from the folder's description, because the same is asked of a repository of the hub before its files are here.
//! A router is read away: behind it stands one list of modules for each side, as in a folder without one.
//!
//! # Source
//! sentence-transformers' `Router` (`router_config.json`).

use std::collections::BTreeMap;

use serde::Deserialize;

/// The file that lists a folder's modules.
pub(crate) const MODULES: &str = "modules.json";

/// The file in which a router lists its own.
const ROUTER: &str = "router_config.json";

/// What a text is to a search. Few models make a difference: by a prompt, or (a `Router`) by another model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What is searched with.
    Query,
    /// What is searched for.
    Document,
}

impl Side {
    /// As sentence-transformers calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Document => "document",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Query => Self::Document,
            Self::Document => Self::Query,
        }
    }
}

/// An entry of `modules.json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Module {
    /// Where it lies below the folder; empty for the folder itself.
    pub(crate) path: String,
    #[serde(rename = "type")]
    class: String,
}

impl Module {
    /// A module alone in its folder, as folders without a list are.
    #[cfg(feature = "hub")]
    pub(crate) fn alone(class: &str) -> Self {
        Self { path: String::new(), class: class.to_owned() }
    }

    /// The class without its Python module: every version of sentence-transformers moved the modules about.
    pub(crate) fn class(&self) -> &str {
        match self.class.strip_prefix("sentence_transformers.") {
            Some(path) => path.rsplit('.').next().unwrap_or(path),
            None => &self.class,
        }
    }

    /// Where the file lies that says what this module, a router, stands for; `None` for any other module.
    pub(crate) fn router_file(&self) -> Option<String> {
        (self.class() == "Router").then(|| below(&self.path, ROUTER))
    }
}

/// What `router_config.json` says.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Router {
    /// Classes by the modules' names, which are also their places.
    types: BTreeMap<String, String>,
    /// Names of modules in order, by route.
    structure: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Parameters {
    default_route: Option<String>,
    /// Routes by side and kind of input, two words as Python prints them.
    route_mappings: Option<BTreeMap<String, String>>,
}

impl Router {
    /// The route that texts of a side take, and those of none.
    pub(crate) fn route(&self, side: Option<Side>) -> Option<&str> {
        let Parameters { default_route, route_mappings } = &self.parameters;
        let side = side.map(Side::name);
        let word = side.map_or_else(|| "None".to_owned(), |side| format!("'{side}'"));
        let keys = [format!("({word}, 'text')"), format!("({word}, None)")];
        let wildcards = ["(None, 'text')".to_owned(), "(None, None)".to_owned()];
        let mapped = route_mappings.as_ref().and_then(|routes| {
            keys.iter().chain(&wildcards).find_map(|key| routes.get(key)).map(String::as_str)
        });
        let named = || side.filter(|side| self.structure.contains_key(*side));
        mapped.or_else(named).or(default_route.as_deref())
    }

    /// The modules of a route, in order, of a router that lies at `place`; `None` where one is named and not described.
    pub(crate) fn modules(&self, place: &str, route: &str) -> Option<Vec<Module>> {
        let module = |name: &String| {
            let class = self.types.get(name)?.clone();
            Some(Module { path: below(place, name), class })
        };
        self.structure.get(route)?.iter().map(module).collect()
    }

    /// The modules of all routes.
    #[cfg(feature = "hub")]
    pub(crate) fn all(&self, place: &str) -> impl Iterator<Item = Module> {
        self.types
            .iter()
            .map(move |(name, class)| Module { path: below(place, name), class: class.clone() })
    }

    /// Names of the routes, for errors.
    pub(crate) fn routes(&self) -> Vec<&str> {
        self.structure.keys().map(String::as_str).collect()
    }
}

/// `place/name`, either of which may be empty: the folder itself.
pub(crate) fn below(place: &str, name: &str) -> String {
    match (place, name) {
        ("", only) | (only, "") => only.to_owned(),
        _ => format!("{place}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(parameters: &str) -> Router {
        let text = format!(
            r#"{{"types": {{"a": "sentence_transformers.models.Transformer", "b/1": "sentence_transformers.models.Pooling"}},
                "structure": {{"query": ["a", "b/1"], "document": ["a"], "big": ["c"]}}, "parameters": {parameters}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_side_takes_the_route_that_is_mapped_then_the_one_of_its_name_then_the_default() {
        let plain = router(r#"{"default_route": "document", "allow_empty_key": true}"#);
        assert_eq!(plain.route(Some(Side::Query)), Some("query"));
        assert_eq!(plain.route(Some(Side::Document)), Some("document"));
        assert_eq!(plain.route(None), Some("document"));
        let mapped = router(
            r#"{"route_mappings": {"('query', 'text')": "big", "(None, None)": "document"}}"#,
        );
        assert_eq!(mapped.route(Some(Side::Query)), Some("big"));
        assert_eq!(mapped.route(Some(Side::Document)), Some("document"));
        assert_eq!(mapped.route(None), Some("document"));
        assert_eq!(router("{}").route(None), None);
    }

    #[test]
    fn modules_lie_where_their_names_say_below_the_router() {
        let router = router("{}");
        let found = router.modules("0_Router", "query").unwrap();
        let found: Vec<_> = found.iter().map(|m| (m.class(), m.path.as_str())).collect();
        assert_eq!(found, [("Transformer", "0_Router/a"), ("Pooling", "0_Router/b/1")]);
        assert_eq!(router.modules("", "document").unwrap()[0].path, "a");
        assert_eq!(router.modules("", "big"), None, "`c` has no type");
        assert_eq!(router.modules("", "small"), None);
    }
}
