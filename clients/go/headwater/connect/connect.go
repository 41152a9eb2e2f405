// Package connect opens the connection to a Headwater server that the environment describes.
package connect

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// FromEnvironment opens the connection, without waiting for the server. The variables:
//
//   - HEADWATER_TARGET: https://HOST:PORT for TLS; else HOST:PORT, dns:///HOST:PORT or unix:PATH. Unset: localhost:50051.
//   - HEADWATER_CA_FILE: authorities to trust, in PEM. Unset: those of the system.
//   - HEADWATER_CERT_FILE, HEADWATER_KEY_FILE: this program's certificate and its key, where the server wants one.
//   - HEADWATER_TOKEN: sent with each call. To another machine only over TLS, unless HEADWATER_PLAINTEXT_TOKEN is true.
func FromEnvironment(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	target := cmp.Or(os.Getenv("HEADWATER_TARGET"), "localhost:50051")
	address, hasTLS := strings.CutPrefix(target, "https://")
	transport := insecure.NewCredentials()
	if hasTLS {
		if _, _, err := net.SplitHostPort(address); err != nil {
			address += ":443"
		}
		config, err := tlsConfig()
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(config)
	}
	options = append(options, grpc.WithTransportCredentials(transport))
	if token := os.Getenv("HEADWATER_TOKEN"); token != "" {
		if !hasTLS && !isLocal(address) && os.Getenv("HEADWATER_PLAINTEXT_TOKEN") != "true" {
			return nil, fmt.Errorf("HEADWATER_TOKEN would go to %s unencrypted; write https:// before the target", target)
		}
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	return grpc.NewClient(address, options...)
}

func tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := os.Getenv("HEADWATER_CA_FILE"); file != "" {
		authorities, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("HEADWATER_CA_FILE: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("HEADWATER_CA_FILE: %s has no certificate in PEM", file)
		}
	}
	if file := os.Getenv("HEADWATER_CERT_FILE"); file != "" {
		own, err := tls.LoadX509KeyPair(file, os.Getenv("HEADWATER_KEY_FILE"))
		if err != nil {
			return nil, fmt.Errorf("HEADWATER_CERT_FILE and HEADWATER_KEY_FILE: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

// isLocal says whether an address is on this machine.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address[strings.LastIndex(address, "/")+1:])
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// bearer is a token. FromEnvironment has checked where it may go.
type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }
