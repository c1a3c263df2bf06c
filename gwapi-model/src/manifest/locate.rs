//! Where objects and their fields stand in a text: for what is found out about them later.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use super::finding::innermost;
use super::node::Node;
use super::position::Positions;
use super::reader::DEFAULT_NAMESPACE;
use super::tree::Documents;
use super::{MAX_TEXT, Position};
use crate::validate::FieldPath;
use crate::{Kind, ObjectId};

/// Where a field of an object stands in a text, and the bytes of it on its first line.
///
/// Where the field is not there, that is the innermost value on its path. `None` where the object
/// is not there. Whoever asks about many objects of one text makes [`Places`] of it once.
///
/// ```
/// use gwapi_model::manifest::locate;
/// use gwapi_model::validate::FieldPath;
/// use gwapi_model::{Kind, ObjectId};
///
/// let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: shop\nspec:\n  ports:\n  - port: 80\n";
/// let field = FieldPath::default().field("spec").field("ports").index(0).field("port");
/// let shop = ObjectId::new(Kind::Service, "default", "shop");
/// let (position, bytes) = locate(text, &shop, &field).expect("it is there");
/// assert_eq!((position.line, position.column, &text[bytes]), (7, 11, "80"));
/// ```
pub fn locate(
    text: &str,
    object: &ObjectId,
    field: &FieldPath,
) -> Option<(Position, Range<usize>)> {
    Places::new(text).locate(object, field)
}

/// The objects of a text and their places.
pub struct Places<'t> {
    text: &'t str,
    positions: Positions<'t>,
    objects: HashMap<ObjectId, Node<'t>>,
}

impl<'t> Places<'t> {
    /// Reads a text of YAML documents or JSON. What cannot be read is left out.
    pub fn new(text: &'t str) -> Self {
        let text = if text.len() <= MAX_TEXT { text } else { "" };
        let mut places = Self { text, positions: Positions::new(text), objects: HashMap::new() };
        for document in Documents::new(text).flatten() {
            places.add(&document.root, None);
        }
        places
    }

    /// Where a field of an object stands, as [`locate`] has it.
    pub fn locate(&self, object: &ObjectId, field: &FieldPath) -> Option<(Position, Range<usize>)> {
        let span = innermost(field, self.objects.get(object)?);
        let start = self.text.floor_char_boundary(span.start as usize);
        let end = self.text.floor_char_boundary(span.end as usize).max(start);
        let line = self.text[start..end].lines().next().unwrap_or_default().trim_end();
        Some((self.positions.at(span.start), start..start + line.len()))
    }

    /// Adds an object, or those of a list; `inherited` is what the list says of their kind.
    fn add(&mut self, node: &Node<'t>, inherited: Option<(&str, &str)>) {
        let field = |name| node.get(name).and_then(Node::text);
        let Some(kind) = field("kind").or(inherited.map(|(_, kind)| kind)) else { return };
        let api_version = field("apiVersion").or(inherited.map(|(api_version, _)| api_version));
        let items = node.get("items").and_then(Node::items);
        if let (Some(item), Some(items)) = (kind.strip_suffix("List"), items) {
            let of_items = api_version.map(|api_version| (api_version, item));
            let of_items = of_items.filter(|_| !item.is_empty());
            items.iter().for_each(|item| self.add(item, of_items));
        } else if let Some(id) = api_version.and_then(|version| identity(node, version, kind)) {
            // Of objects that stand twice in a text, the first one counts.
            self.objects.entry(id).or_insert_with(|| node.clone());
        }
    }
}

/// Names the objects, not their values: those may be secret.
impl fmt::Debug for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.objects.keys()).finish()
    }
}

fn identity(node: &Node<'_>, api_version: &str, kind: &str) -> Option<ObjectId> {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let mut known = Kind::ALL.iter().copied();
    let kind = known.find(|known| known.as_str() == kind && known.group() == group)?;
    let metadata = |name| node.find(&["metadata", name]).and_then(Node::text);
    let namespace = metadata("namespace").filter(|namespace| !namespace.is_empty());
    let namespace = match kind.is_namespaced() {
        true => namespace.unwrap_or(DEFAULT_NAMESPACE),
        false => "",
    };
    Some(ObjectId::new(kind, namespace, metadata("name")?))
}
