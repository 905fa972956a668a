//! The documents are true: defaults, references, settings.

#[path = "../support/documents.rs"]
mod documents;

mod defaults;
mod references;
mod settings;
