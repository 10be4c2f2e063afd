// Package transports has transports, decorators and buses that are as small as they can
// be and keep the contract of package platform. Each is a test that runs the battery, and
// may be copied. It is a module of its own, so that importers of platform do not depend on
// gRPC and msgpack.
package transports
