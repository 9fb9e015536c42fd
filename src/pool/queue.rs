//! The bounded first-come queue of one group.
