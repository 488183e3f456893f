package pcap

import (
	"errors"
	"io"
	"strings"

	"github.com/gopacket/gopacket/pcapgo"

	"netobs/decode"
)

// openNg begins to read a pcapng file.
func (p *Reader) openNg() error {
	p.blocks = &blocks{r: p.buf}
	r, err := pcapgo.NewNgReader(p.blocks, pcapgo.NgReaderOptions{
		WantMixedLinkType:  true,
		SkipUnknownVersion: true,
		// Each section numbers its interfaces afresh.
		SectionEndCallback: func([]pcapgo.NgInterface, pcapgo.NgSectionInfo) { p.ifaces = p.ifaces[:0] },
	})
	if err != nil {
		if err = p.endNg(0, err); err == io.EOF {
			return errVersion
		}
		return err
	}
	p.packets, p.ng = r, r
	section := r.SectionInfo()
	p.ours = strings.HasPrefix(section.Application, application)
	p.controlOnly = p.ours && section.Comment == controlOnly
	return nil
}

var (
	errVersion = errors.New("no section has a known version")
	errOverrun = errors.New("the content of a block is longer than the block")
)

// endNg says why there is no packet behind an offset.
func (p *Reader) endNg(offset int64, err error) error {
	switch b := p.blocks; {
	case b.err == nil: // what the block says is wrong
		return p.fail(b.start, err)
	case b.err != io.EOF: // the framing, or the file
		return p.fail(b.start, b.err)
	case err != io.EOF:
		return p.fail(offset, errOverrun)
	}
	return io.EOF
}

// iface returns an interface of the current section.
func (p *Reader) iface(i int) (*iface, error) {
	for p.ng != nil && len(p.ifaces) <= i {
		ng, err := p.ng.Interface(len(p.ifaces))
		if err != nil {
			return nil, err
		}
		on := iface{link: decode.LinkType(ng.LinkType), point: p.newPoint(ng.Name)}
		if p.ours {
			described(on.point, ng.Description)
		}
		on.setTick(&ng)
		p.ifaces = append(p.ifaces, on)
	}
	return &p.ifaces[i], nil
}
