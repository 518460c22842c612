//! map
pub mod error;
pub mod expand;
pub mod facts;
pub mod logline;
pub mod rules;
pub mod verdict;
