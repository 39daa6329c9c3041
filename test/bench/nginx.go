package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// nginxConf is nginx as one sets it up in front of an engine: connections kept, nothing buffered, so that tokens go through at once. It is
// one process, so that its processor time is all in one place.
const nginxConf = `daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
	keepalive_requests 1000000000;
	upstream engine { server %s; keepalive 64; keepalive_requests 1000000000; }
	server {
		listen %s;
		location / {
			proxy_pass http://engine;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
		}
	}
}
`

// startNginx starts one in front of an engine and waits until it listens.
func startNginx(ctx context.Context, o options, engine string) (*process, string, error) {
	addr, err := freePort()
	if err != nil {
		return nil, "", err
	}
	prefix := filepath.Join(o.dir, "nginx")
	conf := filepath.Join(prefix, "nginx.conf")
	if err := os.MkdirAll(prefix, 0o755); err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, engine, addr), 0o644); err != nil {
		return nil, "", err
	}
	cmd := exec.Command(o.nginx, "-p", prefix, "-e", "stderr", "-c", conf)
	p, err := start(cmd, prefix+".log")
	if err != nil {
		return nil, "", err
	}
	err = p.await(ctx, "nginx listens", 10*time.Second, func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		p.stop()
		return nil, "", err
	}
	return p, addr, nil
}
