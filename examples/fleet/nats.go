package main

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startNATS starts a NATS server on loopback, in this process, with the users of
// deploy/nats/users.conf: one for the service, and one for the daemon of each instance, with
// the permissions that package natsbus documents. The passwords are those of "service" and of
// the instances.
func startNATS(passwords map[string]string) (*server.Server, error) {
	options := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}
	options.Users = append(options.Users, user("service", passwords["service"],
		[]string{"flux.v1.*.rpc.*", "flux.v1.*.in.*.*"}, []string{"flux.v1.*.re.>"}))
	for _, instance := range instances {
		own := "flux.v1." + instance
		options.Users = append(options.Users, user("daemon-of-"+instance, passwords[instance],
			[]string{own + ".re.>", own + ".rpc.claim.*"}, []string{own + ".rpc.>", own + ".in.*.*"}))
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(natsLimit) {
		s.Shutdown()
		return nil, errors.New("the NATS server does not start")
	}
	return s, nil
}

// natsLimit is far more time than the server takes to start.
const natsLimit = 30 * time.Second

func user(name, password string, publish, subscribe []string) *server.User {
	return &server.User{Username: name, Password: password, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: subscribe},
	}}
}

// natsFlags returns the flags of a program that connects as a user, with the password of that
// name.
func (f *fleet) natsFlags(user, password string) []string {
	return []string{"--nats", f.nats.ClientURL(), "--nats-user", user, "--nats-password-file", f.password(password)}
}
