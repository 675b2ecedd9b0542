//! The words of feeds: which element, in which namespace, means which field of an article.

use quick_xml::name::ResolveResult;

/// Namespaces that feeds use. RSS and Atom are one, because each may appear in the other and no name means two things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Vocabulary {
    /// RSS of any version, Atom of any version, and no namespace at all.
    Core,
    /// Dublin Core, elements and terms.
    Dublin,
    /// `content:encoded`.
    Content,
    /// Media RSS.
    Media,
    Rdf,
    /// `feedburner:origLink`.
    FeedBurner,
    Other,
}

/// A field of an article that an element holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Title,
    Summary,
    /// Stands in for the summary.
    Content,
    Link,
    /// A link behind which the source hides its own.
    OriginalLink,
    /// A link if nothing else is one.
    Guid,
    Author,
    /// A name that wins over [`Field::Author`], which in RSS is a mail address.
    Creator,
    Publisher,
    Published,
    /// Stands in for the time of publication.
    Updated,
    Language,
}

impl Vocabulary {
    pub(super) fn of(namespace: &ResolveResult<'_>) -> Self {
        match namespace {
            ResolveResult::Unbound => Self::Core,
            ResolveResult::Bound(namespace) => Self::by_uri(namespace.as_ref()),
            // Feeds forget to declare the usual prefixes.
            ResolveResult::Unknown(prefix) => Self::by_prefix(prefix),
        }
    }

    fn by_uri(uri: &str) -> Self {
        match uri.trim() {
            "http://www.w3.org/2005/Atom"
            | "http://purl.org/atom/ns#"
            | "http://purl.org/rss/1.0/"
            | "http://my.netscape.com/rdf/simple/0.9/"
            | "http://channel.netscape.com/rdf/simple/0.9/"
            | "http://backend.userland.com/rss2"
            | "http://backend.userland.com/RSS2" => Self::Core,
            "http://purl.org/dc/elements/1.1/" | "http://purl.org/dc/terms/" => Self::Dublin,
            "http://purl.org/rss/1.0/modules/content/" => Self::Content,
            "http://search.yahoo.com/mrss/" | "http://search.yahoo.com/mrss" => Self::Media,
            "http://www.w3.org/1999/02/22-rdf-syntax-ns#" => Self::Rdf,
            "http://rssnamespace.org/feedburner/ext/1.0" => Self::FeedBurner,
            _ => Self::Other,
        }
    }

    fn by_prefix(prefix: &str) -> Self {
        match prefix {
            "atom" | "rss" => Self::Core,
            "dc" | "dcterms" => Self::Dublin,
            "content" => Self::Content,
            "media" => Self::Media,
            "rdf" => Self::Rdf,
            "feedburner" => Self::FeedBurner,
            _ => Self::Other,
        }
    }

    /// The field that a child of an item holds.
    pub(super) fn field(self, name: &str) -> Option<Field> {
        match (self, name) {
            (Self::Core, "title") | (Self::Dublin, "title") => Some(Field::Title),
            (Self::Core, "description" | "summary" | "tagline") => Some(Field::Summary),
            (Self::Core, "content") | (Self::Content, "encoded") => Some(Field::Content),
            (Self::Media | Self::Dublin, "description") => Some(Field::Content),
            (Self::Core, "link") => Some(Field::Link),
            (Self::FeedBurner, "origLink") => Some(Field::OriginalLink),
            (Self::Core, "guid") => Some(Field::Guid),
            (Self::Core, "author") => Some(Field::Author),
            (Self::Dublin, "creator") => Some(Field::Creator),
            (Self::Core, "source") | (Self::Dublin, "publisher") => Some(Field::Publisher),
            (Self::Core, "pubDate" | "pubdate" | "published" | "issued") => Some(Field::Published),
            (Self::Dublin, "date" | "issued") => Some(Field::Published),
            (Self::Core, "updated" | "modified" | "created") => Some(Field::Updated),
            (Self::Dublin, "modified" | "created") => Some(Field::Updated),
            (Self::Core | Self::Dublin, "language") => Some(Field::Language),
            _ => None,
        }
    }
}
