// Package faultproxy is a TCP proxy on loopback that makes a network as bad as a test
// wants it: slow, cut, refusing, standing still, or losing messages of the NATS protocol.
//
// It is for tests and benchmarks. Programs talk to Addr instead of the address that
// they want, and nothing else about them changes.
//
// # Concurrency
//
// A Proxy may be used by many goroutines at once. It has one goroutine for its
// listener, one for each connection, and one for each direction of it; Close waits for all.
//
// # Bounds
//
// It holds at most 16 KiB per direction of a connection (64 KiB where it loses
// messages), and 1024 connections at a time; one more is reset.
package faultproxy
