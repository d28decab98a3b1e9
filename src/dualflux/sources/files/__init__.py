"""What readers of several sources share: NetCDF and Zarr, tables, archives, months."""
