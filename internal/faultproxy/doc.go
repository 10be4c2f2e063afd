// Package faultproxy is a TCP proxy on loopback that injects network faults: limited
// bandwidth, latency, resets, refused connections, stalls, and lost messages of the NATS
// protocol.
//
// It is for tests and benchmarks. Programs connect to Addr instead of the real address, and
// need no other change.
//
// # Concurrency
//
// A Proxy may be used by many goroutines at once. It has one goroutine for its listener, one for
// CutEvery, one for each connection, and one for each direction of it, or two where it delays
// bytes; Close waits for all.
//
// # Bounds
//
// For each direction of a connection it buffers at most 16 KiB, 64 KiB where it drops messages,
// and 16 MiB where it delays bytes, or 32 where it does both. It serves 1024 connections at a time;
// further connections are reset.
package faultproxy
