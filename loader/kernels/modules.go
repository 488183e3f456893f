package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wanted are the modules that the tests may use; a kernel that has one built in, or not at all, has no file of it.
var wanted = []string{
	"veth", "bridge", "macvlan", "vxlan", "tun", "ifb", "dummy", "8021q", // devices
	"sch_ingress", "cls_bpf", "act_bpf", "cls_matchall", "act_gact", "sch_netem", // traffic control
	"tcp_diag", // connections that are there
	"nf_tables", "nft_ct", "nft_chain_nat", "nft_nat", "nft_masq", "nft_reject_inet", "nft_counter", "nft_limit",
}

// A module is the uncompressed file of a kernel module.
type module struct {
	name string // as in the kernel, with underscores
	file []byte
}

// modules returns the wanted modules of a kernel in the order in which they can be loaded.
func modules(ctx context.Context, k kernel) ([]module, error) {
	files := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(k.dir, "lib", "modules", k.release), func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); err == nil && ok && d.Type().IsRegular() {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list modules of kernel %s: %w", k, err)
	}
	var ordered []module
	done := make(map[string]bool)
	var add func(name string) error
	add = func(name string) error {
		path := files[name]
		if done[name] || path == "" {
			return nil
		}
		done[name] = true
		file, err := uncompressed(ctx, path)
		if err != nil {
			return err
		}
		depends, err := dependencies(file)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for _, d := range depends {
			if err := add(d); err != nil {
				return err
			}
		}
		ordered = append(ordered, module{name, file})
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}

func uncompressed(ctx context.Context, path string) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".xz":
		return output(exec.CommandContext(ctx, "xz", "-dc", path))
	case ".zst":
		return output(exec.CommandContext(ctx, "zstd", "-dc", path))
	}
	return os.ReadFile(path)
}

// dependencies returns what a module says it needs: depends=A,B among the zero-terminated strings of .modinfo.
func dependencies(file []byte) ([]string, error) {
	obj, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	info := obj.Section(".modinfo")
	if info == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	data, err := info.Data()
	if err != nil {
		return nil, err
	}
	var names []string
	for entry := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			for name := range strings.SplitSeq(list, ",") {
				names = append(names, strings.ReplaceAll(name, "-", "_"))
			}
		}
	}
	return names, nil
}
