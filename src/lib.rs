//! map
pub mod actions;
pub mod error;
pub mod expand;
pub mod facts;
pub mod invocation;
pub mod listen;
pub mod logline;
pub mod lookup;
pub mod rules;
pub mod settings;
pub mod sys;
pub mod tables;
pub mod verdict;
pub mod voice;
