//! (room under construction)

pub mod sign_de_v2;
