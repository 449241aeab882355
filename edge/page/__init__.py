"""What pages are made of: one file of HTML with SVG drawings, without network and script."""
