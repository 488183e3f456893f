package metrics

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// identity makes a key and a certificate for 127.0.0.1, signed by parent, or by itself.
func identity(t *testing.T, name string, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  parent == nil,
	}
	issuer, signer := template, any(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// write writes a certificate and its key where a web configuration can name them.
func write(t *testing.T, dir, name string, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".crt": {Type: "CERTIFICATE", Bytes: c.Certificate[0]},
		name + ".key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWebConfig: TLS, client certificates and passwords, as the web configuration file says.
func TestWebConfig(t *testing.T) {
	dir := t.TempDir()
	ca := identity(t, "ca.example", nil)
	client, stranger := identity(t, "prometheus.example", &ca), identity(t, "stranger.example", nil)
	write(t, dir, "ca", ca)
	write(t, dir, "server", identity(t, "server.example", &ca))
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	const tlsServer = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
	const clients = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"
	users := fmt.Sprintf("basic_auth_users:\n  prometheus: %s\n", hash)
	type access struct {
		certificate *tls.Certificate
		password    string
		plain       bool
		status      int // 0 if there is no answer
	}
	for _, tt := range []struct {
		name, config string
		accesses     []access
	}{
		{"TLS", tlsServer, []access{{status: 200}, {plain: true, status: 400}}},
		{"client certificates", tlsServer + clients, []access{{}, {certificate: &stranger}, {certificate: &client, status: 200}}},
		{"password", users, []access{{plain: true, status: 401}, {plain: true, password: "wrong", status: 401},
			{plain: true, password: "secret", status: 200}}},
		{"all", tlsServer + clients + users, []access{{certificate: &client, status: 401}, {password: "secret"},
			{certificate: &client, password: "secret", status: 200}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(dir, "web.yml")
			if err := os.WriteFile(file, []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- Serve(ctx, []net.Listener{l}, NewHandler(busy(t), HandlerOptions{}), ServeOptions{ConfigFile: file})
			}()
			for _, a := range tt.accesses {
				if got := ask(t, l.Addr().String(), &ca, a.certificate, a.password, a.plain); got != a.status {
					t.Errorf("%+v: status %d", a, got)
				}
			}
			stop()
			if err := mustReturn(t, done); err != nil {
				t.Error(err)
			}
		})
	}
}

func ask(t *testing.T, addr string, ca, certificate *tls.Certificate, password string, plain bool) int {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	config := &tls.Config{RootCAs: pool}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	scheme := "https"
	if plain {
		scheme = "http"
	}
	req, err := http.NewRequest("GET", scheme+"://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if password != "" {
		req.SetBasicAuth("prometheus", password)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// TestWrongWebConfig ends Serve, with the cause, and closes the listener.
func TestWrongWebConfig(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(file, []byte("tls_server_config:\n  cert_file: none.crt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), []net.Listener{l}, http.NotFoundHandler(), ServeOptions{ConfigFile: file}); err == nil {
		t.Error("no error")
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

// TestSeveralListeners are served until the first fails, or all are stopped.
func TestSeveralListeners(t *testing.T) {
	var all []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	done := make(chan error, 1)
	go func() { done <- Serve(t.Context(), all, NewHandler(busy(t), HandlerOptions{}), ServeOptions{}) }()
	for _, l := range all {
		if status, _, err := scrapeAt(l.Addr().String()); err != nil || status != http.StatusOK {
			t.Errorf("%s: %d, %v", l.Addr(), status, err)
		}
	}
	all[0].Close()
	if err := mustReturn(t, done); err == nil {
		t.Error("no error though a listener failed")
	}
	if _, err := net.Dial("tcp", all[1].Addr().String()); err == nil {
		t.Error("the other listener is still open")
	}
}
