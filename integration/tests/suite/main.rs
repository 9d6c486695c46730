//! End-to-end tests: the real `pointsman` binary between real clients and real or fake nodes.
//!
//! A test's name begins with the trap it stands for (`t03_...`) where there is one. All of them run
//! at the same time on a busy machine: ports are their own, shared clusters are only read or written
//! under keys of their own, and nothing is measured in time except that something must end.

mod across_slots;
mod admin;
mod algebra;
mod bad_backend;
mod bad_input;
mod blocking;
mod breaker;
mod chaos;
mod clients;
mod cluster_forms;
mod command_line;
mod configuration;
mod databases;
mod differential;
mod embedded;
mod explain;
mod facade;
mod failure;
mod fairness;
mod fixed;
mod guarded;
mod hold;
mod identity;
mod keys;
mod later_commands;
mod layers;
mod leaving;
mod limits;
mod local;
mod local_lines;
mod monitor;
mod order;
mod pipelines;
mod pool;
mod primary;
mod pubsub;
mod redirect;
mod refused;
mod replicas;
mod reshard;
mod resp2_only;
mod retry_table;
mod rust_clients;
mod scan;
mod scripts;
mod sentinel;
mod sessions;
mod shutdown;
mod split;
mod staleness;
mod timeouts;
mod topology;
mod tracking;
mod tracking_gaps;
mod transactions;
mod traps;
mod unknown_commands;
mod vigils;
mod wait;
