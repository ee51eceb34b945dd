//! One typed intent, whatever form its document had.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headworks::{Intent, Priority};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::clock::now;
use crate::names::{Name, Namespace};
use crate::problem::{Origin, Rule};

/// What the operator works on: decoded, checked, and sure to have a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkIntent {
    pub(crate) origin: Origin,
    pub(crate) form: Form,
    /// With `name`, the key; by itself, the tenant.
    pub(crate) namespace: Namespace,
    pub(crate) name: Name,
    /// Counts the changes of a Kubernetes object; the flat form has none.
    pub(crate) generation: Option<u64>,
    pub(crate) priority: Priority,
    /// Hash of the whole document: the same in every run and on every machine.
    pub(crate) content: u128,
    pub(crate) request: Request,
    pub(crate) constraints: Constraints,
}

/// An intent as the pipeline takes it.
pub(crate) type Order = Intent<Arc<NetworkIntent>>;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// In a person's words, and whatever else the document says beside them.
    Text { text: String, context: Map<String, Value> },
    /// In fields: the answer must come back equal to them.
    Fields(Answer),
}

/// The four forms a document may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    Flat,
    Kubernetes,
    CustomResource,
    V1alpha1,
}

impl NetworkIntent {
    /// The object it is about: two runs of one key never overlap.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Shared with everything of the same namespace.
    pub(crate) fn tenant(&self) -> Arc<str> {
        self.namespace.shared()
    }

    /// What the pipeline is asked to do, within this time if there is one.
    pub(crate) fn order(self: &Arc<Self>, within: Option<Duration>) -> Order {
        let order = Intent::new(self.key(), Arc::clone(self))
            .tenant(self.tenant())
            .priority(self.priority)
            .content(self.content);
        let order = match within {
            Some(within) => order.deadline(now() + within),
            None => order,
        };
        match self.generation {
            Some(generation) => order.generation(generation),
            None => order,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "flat",
            Self::Kubernetes => "kubernetes",
            Self::CustomResource => "custom-resource",
            Self::V1alpha1 => "v1alpha1",
        })
    }
}

/// What the author allows, checked on the document where it has fields and on the plan always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Constraints {
    pub(crate) min_replicas: Option<u32>,
    pub(crate) max_replicas: Option<u32>,
    /// `None`: everywhere. An empty list allows nothing.
    pub(crate) allowed_namespaces: Option<Vec<String>>,
}

impl Constraints {
    /// # Errors
    /// The bounds contradict each other.
    pub(crate) fn consistent(&self) -> Result<(), Rule> {
        match (self.min_replicas, self.max_replicas) {
            (Some(min), Some(max)) if min > max => Err(Rule::MinAboveMax { min, max }),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// So many replicas are not within the bounds.
    pub(crate) fn allow_replicas(&self, was: u32) -> Result<(), Rule> {
        match (self.min_replicas, self.max_replicas) {
            (Some(min), _) if was < min => Err(Rule::BelowMin { min, was }),
            (_, Some(max)) if was > max => Err(Rule::AboveMax { max, was }),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// There is a list, and this namespace is not in it.
    pub(crate) fn allow_namespace(&self, namespace: &str) -> Result<(), Rule> {
        match &self.allowed_namespaces {
            Some(allowed) if !allowed.iter().any(|one| one == namespace) => {
                Err(Rule::NamespaceNotAllowed { was: namespace.to_owned() })
            }
            _ => Ok(()),
        }
    }
}
