//! Verifying: each rule, each with what breaks it; damage anywhere; and what the program says.

mod corpus;
mod damage;
mod kit;
mod program;
